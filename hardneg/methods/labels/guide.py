"""Judgements, without the negatives that a guide holds for relevant (GISTEmbed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Relabelling, Teacher


class Guide(Answer):
    """What a frozen dense system, the guide, scores above the positive is no negative (GISTEmbed).

    A passage is left out if its score is above the positive's, less `absolute`, less `relative` times the positive's
    absolute value. Of several positives the lowest counts. In-batch and mined passages alike are left out. Texts from
    outside the collection have no score and stay.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"teacher_vectors"})
    name: Literal["guide"] = "guide"
    system: str | None = Field(
        None, description="the dense system that guides; null: the one this starts `from`, or the last round"
    )
    absolute: float = Field(0.0, description="in units of the guide's score")
    relative: float = Field(0.0, description="a share of the positive's score")


def label(scored: Teacher | None, *, absolute: float, relative: float) -> Relabelling:
    """The guide's scores, and what they leave of a batch."""
    from hardneg.methods.grading import Guided

    assert scored is not None
    return Guided(scored, absolute, relative)
