"""Packages that only some methods need."""

from __future__ import annotations

from importlib.util import find_spec

from hardneg.errors import HardnegError


def require_lightgbm() -> None:
    """Refuse to go on without the package lightgbm.

    Raises:
        HardnegError: it is not installed.
    """
    if find_spec("lightgbm") is None:
        raise HardnegError(
            "Learning to rank needs the package lightgbm, which is not installed.",
            where="retriever: letor",
            remedy="pip install '.[letor]', in this project's folder, or remove the systems with retriever letor.",
        )
