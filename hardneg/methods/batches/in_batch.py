"""Other rows' positives and all rows' negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Grouping

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class InBatch(Grouping):
    """The other rows' positives, and all rows' mined negatives."""

    needs: ClassVar[frozenset[str]] = frozenset({"vectors"})
    provides: ClassVar[frozenset[str]] = frozenset({"in_batch", "negatives"})
    name: Literal["in_batch"] = "in_batch"


def compared(rows: int, positives: int, negatives: int) -> npt.NDArray[np.bool_]:
    """Which columns a row meets besides its own positives: bool [B, B p + B h], positives first, row by row."""
    import numpy as np

    met = np.ones((rows, rows * (positives + negatives)), bool)
    for row in range(rows):
        met[row, row * positives : (row + 1) * positives] = False
    return met
