"""A teacher's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class TeacherLabels(Answer):
    """A teacher scores each judged pair and each candidate; a cross-encoder, or a dense system.

    Pairs that meet only in the batch are not scored. Judgements still say which passages are positives.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"ranking"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores"})
    name: Literal["teacher"] = "teacher"
    system: str = Field(description="the system that teaches")


def label(scored: Teacher | None) -> Teacher | None:
    """The scores."""
    return scored
