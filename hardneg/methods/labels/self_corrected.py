"""Judged pairs as far as the encoder itself does not hold them for noise (NPC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Follower, Teacher


class SelfCorrected(Answer):
    """Judged pairs that the encoder finds unlikely are flagged as noise, and its moving average teaches (NPC).

    At the start of every epoch each judged pair gets its perplexity among random passages. A mixture of two Gaussians
    splits these; a pair is clean if it more likely belongs to the component of the lower mean. The teacher is an
    exponential moving average of the encoder's weights, and scores all that meets in the batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoded_passages"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "clean"})
    name: Literal["self_corrected"] = "self_corrected"
    alpha: float = Field(0.999, ge=0, le=1, description="the share of its weights that the teacher keeps at a step")
    negatives: int = Field(64, ge=1, description="random passages that a pair's perplexity is measured among")


def label(scored: Teacher | None, *, alpha: float, negatives: int) -> Follower:
    """Flags and a teacher that follow the encoder."""
    from hardneg.methods.following import SelfTeacher

    return SelfTeacher(alpha, negatives)
