"""Candidates renewed as training meets them."""

from __future__ import annotations

from typing import ClassVar, Literal

from hardneg.methods.base import Renewal


class Streaming(Renewal):
    """Candidates are renewed as training meets them (a cache)."""

    needs: ClassVar[frozenset[str]] = frozenset({"cache"})
    provides: ClassVar[frozenset[str]] = frozenset({"streaming"})
    name: Literal["streaming"] = "streaming"


def steps(total: int, number: int) -> tuple[int, int]:
    """The first step and the end step of the only round: all steps."""
    return 0, total
