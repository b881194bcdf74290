"""One teacher of a query's own passages, another of all that meets in the batch (TAS-Balanced)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class TwoTeachers(Answer):
    """A teacher scores each query's own positive and negatives; a late interaction scores all that meets in the batch.

    The first has scored the judged pairs and all candidates before the training, so it is a cross-encoder most often.
    The second scores at every step. Losses that need a teacher read the first, those that need a second one the other.
    Judgements still say which passages are positives.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"ranking"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs", "second_teacher"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores", "late_interaction"})
    name: Literal["two_teachers"] = "two_teachers"
    system: str = Field(description="the system that teaches a query's own pairs")
    in_batch: str = Field(description="the system that teaches all that meets, which trains late_interaction")

    def named(self, stage: str) -> tuple[str, str | None]:
        """See `Answer`."""
        return ("in_batch", self.in_batch) if stage == "late_interaction" else super().named(stage)


def label(scored: Teacher | None) -> Teacher | None:
    """The scores of the first."""
    return scored
