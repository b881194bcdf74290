"""A dense teacher's scores of everything that meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class DenseTeacher(Answer):
    """A dense system scores all that a query meets by its vectors, pairs that meet only in the batch included.

    The teacher does not train. Judgements still say which passages are positives.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"teacher_vectors"})
    name: Literal["dense_teacher"] = "dense_teacher"
    system: str | None = Field(
        None, description="the dense system that teaches; null: the one this starts `from`, or the last round"
    )


def label(scored: Teacher | None) -> Teacher | None:
    """The scores, inner products of the teacher's vectors."""
    return scored
