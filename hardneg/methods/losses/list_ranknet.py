"""RankNet, averaged within each query first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class ListRankNet(Weighted):
    """RankNet over a list with all pairs weighted alike (the paper's ablation without lambda)."""

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["list_ranknet"] = "list_ranknet"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over queries of the mean over pairs (i, j) with grade_i > grade_j of softplus(s_j - s_i)."""
    return mean_over_lists(batch, None)


def mean_over_lists(batch: TrainingBatch, weigh: Callable[..., torch.Tensor] | None) -> torch.Tensor:
    """Mean over queries of the mean over pairs (i, j) with grade_i > grade_j of weight * softplus(s_j - s_i).

    Only relevant passages can be the better half of a pair, so pairs are laid out [B, P, C], with P the most relevant
    passages that a query of this batch has. Columns are summed in the order of their ranks.

    Args:
        batch: the scores.
        weigh: weights [B, P, C] from grades of i [B, P, 1], grades of j [B, 1, C], and the columns of i and j; None
            weighs all pairs alike.
    """
    from torch.nn.functional import softplus

    order = batch.ranks().argsort(dim=1, stable=True)
    scores, listed = batch.scores.float().gather(1, order), batch.listed.gather(1, order)
    grades = (batch.grades * batch.listed).gather(1, order)
    most = max(int((grades > 0).sum(1).max()), 1)
    best = grades.topk(most, dim=1).indices  # [B, P]
    high, low = grades.gather(1, best).unsqueeze(2).float(), grades.unsqueeze(1).float()
    pairs = (high > low) & listed.unsqueeze(1)
    terms = softplus(scores.unsqueeze(1) - scores.gather(1, best).unsqueeze(2))
    if weigh is not None:
        terms = weigh(high, low, order.gather(1, best).unsqueeze(2), order.unsqueeze(1)) * terms
    return ((terms * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)).mean()
