"""Teachers that change what is compared: a ranking as grades (CL-DRD), and a guide (GISTEmbed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions, Scores, Teacher


class Graded:
    """A teacher that grades; see `hardneg.methods.draws.Grading`.

    Args:
        scored: scores pairs.
        best: passages with a grade of their own.
        middle: passages of grade 1.
    """

    def __init__(self, scored: Teacher, best: int, middle: int) -> None:
        self._scored, self._best, self._middle = scored, best, middle

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """The teacher's scores."""
        return self._scored(query, passage)

    def grades(self, scores: Scores, listed: npt.NDArray[np.bool_]) -> tuple[Positions, npt.NDArray[np.bool_]]:
        """The grade of place r = 0, 1, ... is best + 1 - r, then 1 for `middle` places, then 0; ties by column."""
        listed = listed & ~np.isnan(scores)
        order = np.argsort(-np.where(listed, scores, -np.inf), axis=1, kind="stable")
        places = np.argsort(order, axis=1, kind="stable")
        own = np.maximum(self._best + 1 - places, np.where(places < self._best + self._middle, 1, 0))
        return np.where(listed & (places < self._best + self._middle), own, 0).astype(np.int64), listed


class Guided:
    """A guide; see `hardneg.methods.draws.Guiding`.

    Args:
        scored: scores pairs.
        absolute: margin to the positive's score, in units of the scores.
        relative: margin as a share of the positive's score.
    """

    def __init__(self, scored: Teacher, absolute: float, relative: float) -> None:
        self._scored, self._absolute, self._relative = scored, absolute, relative

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """The guide's scores."""
        return self._scored(query, passage)

    def left(self, scores: Scores, listed: npt.NDArray[np.bool_], grades: Positions) -> npt.NDArray[np.bool_]:
        """Negatives above the lowest positive are left out. Where no positive has a score, all stay."""
        positive = listed & (grades > 0)
        lowest = np.where(positive & ~np.isnan(scores), scores, np.inf).min(1, keepdims=True)
        lowest = np.where(np.isinf(lowest), np.nan, lowest)
        doubtful = (scores > lowest - self._absolute - self._relative * np.abs(lowest)) & ~positive
        return listed & ~doubtful
