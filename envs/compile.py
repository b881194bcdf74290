"""Import what the workflow imports, so that Python keeps it compiled, also where PYTHONDONTWRITEBYTECODE is set.

Each job is a process, and would compile again what was not kept. Most of what is installed is never imported.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.util import find_spec

PACKAGES = ("hardneg", "workflow_scripts", "snakemake_logger_plugin_hardneg")
LATER = ("snakemake.cli",)
"""What other programs import."""

NEEDS = {"hardneg.retrieval.search.by_triton": "triton"}
"""Modules that need a package which is not everywhere: Triton comes with torch for a GPU."""


def main() -> None:
    """Import every module of the project, and what it imports."""
    sys.dont_write_bytecode = False
    for package in PACKAGES:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if module.name not in NEEDS or find_spec(NEEDS[module.name]) is not None:
                importlib.import_module(module.name)
    warm = importlib.import_module("workflow_scripts.warm")
    for name in (*LATER, *warm.ENCODERS):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
