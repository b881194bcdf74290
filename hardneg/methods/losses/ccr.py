"""Peaked predictions (contrastive confidence regularisation, CCR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class ConfidenceRegulariser(Weighted):
    """The mean log-probability of a query's passages, to be added to the softmax loss with a small weight (CCR).

    It pushes the mean down, so that predictions are peaked and noisy hard negatives are not fitted. `weight` is beta.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["ccr"] = "ccr"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over queries of (1/N) sum_j log p(d_j | q), p the softmax over the N passages that a query meets.

    Args:
        batch: the scores, float32 [B, C].

    Returns:
        float32 [], at most -log N; queries that meet no passage are left out.
    """
    import torch

    scores = torch.where(batch.listed, batch.scores.float(), -1e30)  # -inf would make the gradient NaN
    logs = torch.where(batch.listed, scores.log_softmax(1), 0.0)
    there = batch.listed.sum(1)
    return (logs.sum(1) / there.clamp_min(1)).sum() / (there > 0).sum().clamp_min(1)
