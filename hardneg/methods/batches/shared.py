"""All rows' negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Grouping

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class SharedNegatives(Grouping):
    """All rows' mined negatives, but not the other rows' positives."""

    needs: ClassVar[frozenset[str]] = frozenset({"vectors", "candidates"})
    name: Literal["shared"] = "shared"


def compared(rows: int, positives: int, negatives: int) -> npt.NDArray[np.bool_]:
    """Which columns a row meets besides its own positives: bool [B, B p + B h], positives first, row by row."""
    import numpy as np

    met = np.zeros((rows, rows * (positives + negatives)), bool)
    met[:, rows * positives :] = True
    return met
