"""Where the workflow lies: the Snakefile, its rules, environments and profiles, and the configurations."""

from __future__ import annotations

from pathlib import Path

from hardneg.errors import HardnegError

SNAKEFILE = "Snakefile"
PACKAGE = Path(__file__).resolve().parents[1]


def workflow_folder() -> Path:
    """Its folder: inside an installed package; above the package in a checkout.

    Raises:
        HardnegError: it is in neither place.
    """
    for folder in (PACKAGE / "workflow", PACKAGE.parent):
        if (folder / SNAKEFILE).is_file():
            return folder
    raise HardnegError(
        "This installation has no workflow.",
        where=str(PACKAGE),
        found=f"no {SNAKEFILE}",
        remedy=f"install hardneg again, or give the path of one: --snakefile /path/to/{SNAKEFILE}.",
    )
