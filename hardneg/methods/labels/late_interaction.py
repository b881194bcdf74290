"""A late interaction's scores of everything that meets (TCT-ColBERT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class LateInteractionTeacher(Answer):
    """A late interaction scores all that a query meets at every step, pairs that meet only in the batch included.

    Its token vectors are made anew at every step, without dropout, so nothing is stored. The teacher does not train.
    Judgements still say which passages are positives.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"late_interaction"})
    name: Literal["late_interaction"] = "late_interaction"
    system: str = Field(description="the system that teaches, which trains late_interaction")


def label(scored: Teacher | None) -> Teacher | None:
    """The scores."""
    return scored
