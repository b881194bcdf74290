"""RankNet over a graded list, weighted by reciprocal ranks (CL-DRD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class ReciprocalRankNet(Weighted):
    """RankNet over a list, each pair weighted by the difference of its reciprocal ranks, whatever its grades (CL-DRD).

    `lambda_ranknet` with MRR weighs a pair of two relevant passages by 0; here such pairs count like others.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["reciprocal_ranknet"] = "reciprocal_ranknet"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over queries of the mean over pairs with grade_i > grade_j of |1/pi_i - 1/pi_j| softplus(s_j - s_i).

    Args:
        batch: scores float32 [B, C]; pi are `batch.ranks()`.

    Returns:
        float32 [].
    """
    from hardneg.methods.losses.lambda_ranknet import value_at
    from hardneg.methods.losses.list_ranknet import mean_over_lists

    value = 1 / batch.ranks().float()
    return mean_over_lists(batch, lambda high, low, i, j: (value_at(value, i) - value_at(value, j)).abs())
