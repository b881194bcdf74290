"""Groups of a teacher's ranking as grades (CL-DRD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Grading, Positions, Scores, Teacher


class Groups(Answer):
    """A teacher ranks what a query meets; its best passages are graded one by one, the others in two groups (CL-DRD).

    With 30 passages, `best: 5` and `middle: 12`, the grades are 6, 5, 4, 3, 2, then 1 for 12 passages and 0 for 13.
    Within a group nothing is preferred. Judgements say only which positive joins the list; passages that the teacher
    did not score are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"ranking"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores"})
    name: Literal["groups"] = "groups"
    system: str = Field(description="the system that teaches")
    best: int = Field(5, ge=1, description="passages with a grade of their own")
    middle: int = Field(12, ge=0, description="passages of the group below them; what is left is the lowest group")


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


def label(scored: Teacher | None, *, best: int, middle: int) -> Grading:
    """The scores, and grades from their order."""
    assert scored is not None
    return Graded(scored, best, middle)
