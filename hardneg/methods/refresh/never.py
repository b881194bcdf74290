"""Static candidates."""

from __future__ import annotations

from typing import Literal

from hardneg.methods.base import Renewal


class Never(Renewal):
    """Mined once, before training (static)."""

    name: Literal["never"] = "never"


def steps(total: int, number: int) -> tuple[int, int]:
    """The first step and the end step of the only round: all steps."""
    return 0, total
