"""The last line of a message about a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable

from hardneg.errors import nearest


def did_you_mean(name: str, allowed: Iterable[str], otherwise: str) -> str:
    """A question with the allowed name most like `name`; `otherwise` where none is close."""
    near = nearest(name, allowed)
    return f"did you mean {near}?" if near else otherwise
