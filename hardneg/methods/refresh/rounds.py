"""Candidates mined again, round by round."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Renewal


class Rounds(Renewal):
    """Mined `rounds` times, at equal distances over the steps, each time from the model that the last round left."""

    needs: ClassVar[frozenset[str]] = frozenset({"mined_anew"})
    provides: ClassVar[frozenset[str]] = frozenset({"rounds"})
    name: Literal["rounds"] = "rounds"
    rounds: int = Field(3, ge=2, description="how often candidates are mined")

    def count(self) -> int:
        """As many as `rounds`."""
        return self.rounds


def steps(total: int, number: int, *, rounds: int) -> tuple[int, int]:
    """The first step and the end step of round `number` (from 1): equal shares of all steps."""
    return (number - 1) * total // rounds, number * total // rounds
