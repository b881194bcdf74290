"""Judgements, and what a cross-encoder is sure of (RocketQA, PAIR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Relabelling, Teacher


class PseudoLabels(Answer):
    """Candidates that a teacher is sure of are labelled by it: relevant ones as positives, the others as negatives.

    What it is not sure of is left out. Judged passages keep their grades. What it did not score stays as judged, as do
    other rows' passages in a batch. The teacher's scores are logarithms of odds, as a cross-encoder's are that was
    trained with loss pointwise.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mined"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores"})
    name: Literal["pseudo"] = "pseudo"
    system: str = Field(description="the system that teaches")
    positive: float = Field(0.9, gt=0, lt=1, description="the probability above which a candidate is relevant")
    negative: float = Field(0.1, gt=0, lt=1, description="the probability from which on it is no negative")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.negative > self.positive:
            raise ValueError("negative must be at most positive: a candidate cannot be both")
        return self


def label(scored: Teacher | None, *, positive: float, negative: float) -> Relabelling:
    """The scores, and the labels that follow from them."""
    import math

    from hardneg.methods.grading import Pseudo

    assert scored is not None
    return Pseudo(scored, math.log(positive / (1 - positive)), math.log(negative / (1 - negative)))
