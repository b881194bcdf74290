"""The packages that the embedded collection is read from: their versions here, and which are not the pinned ones."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from hardneg.data.formats.pydocs import DISTRIBUTIONS


def installed_versions() -> dict[str, str]:
    """The installed version of each package, without a local suffix such as `+cpu`.

    The pinned version stands for a package that is not installed: the reader tells that it is missing.
    """
    return {name: _installed(name, pinned) for name, pinned in DISTRIBUTIONS.items()}


def differences(versions: Mapping[str, str]) -> list[str]:
    """What to tell where the versions are not the pinned ones, and so neither the passages nor the scores are.

    Args:
        versions: by package.
    """
    other = [
        f"{name} {found} (not {DISTRIBUTIONS[name]})"
        for name, found in versions.items()
        if found != DISTRIBUTIONS[name]
    ]
    if not other:
        return []
    return [
        f"The embedded collection is read from the installed packages, and some are not those of requirements.lock: "
        f"{', '.join(other)}. Its passages and the scores differ a little from the documented ones."
    ]


def _installed(name: str, pinned: str) -> str:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return pinned
