"""RankNet weighted by what a swap changes in a measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class LambdaRankNet(Weighted):
    """RankNet over a ranked list, each pair weighted by what swapping it would change in `metric` at `cut`."""

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["lambda_ranknet"] = "lambda_ranknet"
    metric: Literal["MRR", "nDCG"] = "MRR"
    cut: int = Field(200, ge=1, description="ranks beyond it count nothing; a cut of 0 would make every weight 0")


def loss(batch: TrainingBatch, *, metric: str, cut: int) -> torch.Tensor:
    """RankNet over a ranked list, weighted by the change in `metric`@`cut` (section 6.2.2, Eq. 15; LambdaRank).

    For passages i and j with grade_i > grade_j the weight is |r_i - r_j| for MRR, with r the reciprocal rank, and 0 if
    both are relevant, since swapping them changes no reciprocal rank; it is
    |(g_i - g_j)(c_i - c_j)| / ideal for nDCG, with g the grade, c = 1/log2(1 + rank) and ideal the best DCG@cut that
    the query's judgements allow (linear gain). r and c are 0 beyond `cut`. A query's loss is the mean over its pairs,
    the batch's the mean over queries.

    Args:
        batch: the scores; ranks are `batch.ranks()`.
        metric: MRR or nDCG.
        cut: ranks beyond it count nothing.
    """
    import torch

    from hardneg.methods.losses.list_ranknet import mean_over_lists

    ranks = batch.ranks().float()
    inside = ranks <= cut
    if metric == "MRR":
        value = torch.where(inside, 1 / ranks, 0.0)
        return mean_over_lists(
            batch, lambda high, low, i, j: (value_at(value, i) - value_at(value, j)).abs() * (low == 0)
        )
    discount = torch.where(inside, 1 / torch.log2(1 + ranks), 0.0)
    grades = batch.judged[:, :cut].double()
    places = torch.arange(2, grades.shape[1] + 2, device=grades.device, dtype=torch.float64)
    ideal = (grades / torch.log2(places)).sum(1).float()
    scale = 1 / ideal.clamp_min(torch.finfo(torch.float32).tiny).view(-1, 1, 1)

    def weigh(high: torch.Tensor, low: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return ((high - low) * (value_at(discount, i) - value_at(discount, j))).abs() * scale

    return mean_over_lists(batch, weigh)


def value_at(values: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Values [B, C] at columns int64 [B, P, 1] or [B, 1, C], in their shape."""
    return values.gather(1, columns.flatten(1)).view(columns.shape)
