"""A hinge over everything that a query meets (RepBERT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class MultilabelMargin(Weighted):
    """Hinge of each pair of a positive and a negative, summed over a query's pairs and divided by its passages.

    The division is by all passages that a query meets, not by its pairs, as in RepBERT.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["multilabel_margin"] = "multilabel_margin"
    margin: float = Field(1.0, gt=0, description="in units of the score over the temperature")


def loss(batch: TrainingBatch, *, margin: float) -> torch.Tensor:
    """Mean over queries of (1/n) sum over p and m of max(0, margin - (s_p - s_m)).

    p runs over the relevant passages of a query, m over its passages of a lower grade, and n counts all it meets.

    Args:
        batch: the scores, float32 [B, C].
        margin: that a positive must lead by.

    Returns:
        float32 [].
    """
    columns, better = batch.better()
    scores = batch.scores.float()
    leads = scores.gather(1, columns).unsqueeze(2) - scores.unsqueeze(1)
    sums = ((margin - leads).clamp_min(0) * better).sum((1, 2))
    return (sums / batch.listed.sum(1).clamp_min(1)).mean()
