"""Dynamic candidates."""

from __future__ import annotations

from typing import ClassVar, Literal

from hardneg.methods.base import Renewal


class EveryStep(Renewal):
    """Retrieved again at every step (dynamic)."""

    needs: ClassVar[frozenset[str]] = frozenset({"live"})
    provides: ClassVar[frozenset[str]] = frozenset({"every_step"})
    name: Literal["every_step"] = "every_step"


def steps(total: int, number: int) -> tuple[int, int]:
    """The first step and the end step of the only round: all steps."""
    return 0, total
