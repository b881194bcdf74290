"""Own negatives only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Grouping

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class OwnNegatives(Grouping):
    """Nothing else: each query meets only its own negatives."""

    across: ClassVar[bool] = False
    name: Literal["own"] = "own"


def compared(rows: int, positives: int, negatives: int) -> npt.NDArray[np.bool_]:
    """Which columns a row meets besides its own positives: bool [B, B p + B h], positives first, row by row."""
    import numpy as np

    met = np.zeros((rows, rows * (positives + negatives)), bool)
    for row in range(rows):
        first = rows * positives + row * negatives
        met[row, first : first + negatives] = True
    return met
