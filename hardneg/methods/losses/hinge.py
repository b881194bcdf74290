"""A hinge, its margin widened or narrowed by a teacher (RANCE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class Hinge(Weighted):
    """Mean hinge over pairs. With `scale` a pair's margin shrinks by what the teacher already tells apart.

    RANCE's teacher there is BM25: what BM25 ranks rightly need not be learned again. Pairs that the teacher did not
    score are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, description="that a positive must lead by, in units of the score over the temperature")
    scale: float = Field(0.0, ge=0, description="times the teacher's margin, which is taken from the margin; 0: none")

    def needed(self) -> frozenset[str]:
        """With `scale` a teacher."""
        return self.needs | {"teacher"} if self.scale > 0 else self.needs


def loss(batch: TrainingBatch, *, margin: float, scale: float) -> torch.Tensor:
    """Mean over pairs of max(0, margin - scale (t+ - t-) - (s+ - s-)); 0 without a pair.

    Args:
        batch: scores float32 [B, C], and with `scale` the teacher's, float32 [B, C].
        margin: xi in RANCE.
        scale: lambda in RANCE.

    Returns:
        float32 [].
    """
    columns, pairs = batch.better()

    def leads(values: torch.Tensor) -> torch.Tensor:
        return values.gather(1, columns).unsqueeze(2) - values.unsqueeze(1)

    wanted = margin - leads(batch.scores.float())
    if scale > 0:
        assert batch.teacher is not None
        scored = ~batch.teacher.isnan()
        pairs = pairs & scored.unsqueeze(1) & scored.gather(1, columns).unsqueeze(2)
        wanted = wanted - scale * leads(batch.teacher.float().nan_to_num())
    return (wanted.clamp_min(0) * pairs).sum() / pairs.sum().clamp_min(1)
