"""Softmax over the positive and the negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class Softmax(Weighted):
    """Negative log of the positive's share of the softmax over itself and the negatives (NCE)."""

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["softmax"] = "softmax"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Softmax NCE: -log( e^s+ / (e^s+ + sum over the negatives of e^s-) ), averaged over the positives of the batch."""
    shares, there = negative_log_shares(batch)
    return (shares * there).sum() / there.sum().clamp_min(1)


def negative_log_shares(batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each positive.

    Returns:
        float32 [B, P], in the order of `batch.relevant()`, and bool [B, P], False where a query has fewer positives.
    """
    import torch

    columns, better = batch.better()
    scores = batch.scores.float()
    own = scores.gather(1, columns)
    negatives = scores.unsqueeze(1).masked_fill(~better, -torch.inf)
    shares = torch.logsumexp(torch.cat((own.unsqueeze(2), negatives), 2), 2) - own
    return shares, batch.relevant()[1] > 0
