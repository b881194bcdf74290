"""RankNet over all pairs of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class RankNet(Weighted):
    """Mean softplus(negative - positive) over all (query, negative) pairs of the batch.

    Without `alpha` all pairs are pooled, as in the paper's released code. With it the loss is the mean over pairs of a
    query and its own mined negatives, plus `alpha` times the mean over all others: other rows' positives and their
    negatives, which stand for random ones (Eq. 13 and section 6.1.3).
    """

    name: Literal["ranknet"] = "ranknet"
    alpha: float | None = Field(
        None, ge=0, description="weight of all that belongs to other rows (Eq. 13); null pools all pairs"
    )

    def needed(self) -> frozenset[str]:
        """With `alpha` both kinds of pairs must be there."""
        return frozenset({"negatives"} if self.alpha is None else {"in_batch", "candidates"})


def loss(batch: TrainingBatch, *, alpha: float | None) -> torch.Tensor:
    """RankNet (Zhan et al., Eq. 14): softplus(s(q, d-) - s(q, d+)), averaged over pairs; 0 where there is no pair.

    Args:
        batch: the scores.
        alpha: None pools all pairs in one mean, as the released code does; a number gives
            mean over own mined pairs + alpha * mean over pairs with what belongs to other rows (Eq. 13).
    """
    from torch.nn.functional import softplus

    columns, better = batch.better()
    scores = batch.scores.float()
    pairs = softplus(scores.unsqueeze(1) - scores.gather(1, columns).unsqueeze(2))
    if alpha is None:
        return _mean(pairs, better)
    own = batch.own_negatives().unsqueeze(1)
    return _mean(pairs, better & own) + alpha * _mean(pairs, better & ~own)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
