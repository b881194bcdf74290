"""What messages say about names: which one was meant, and which ones come twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hardneg.errors import nearest


def did_you_mean(name: str, allowed: Iterable[str], otherwise: str) -> str:
    """A question with the allowed name most like `name`; `otherwise` where none is close."""
    near = nearest(name, allowed)
    return f"did you mean {near}?" if near else otherwise


def repeated(names: Sequence[str]) -> list[str]:
    """Those that come more than once, in the order of their first place."""
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]
