"""A positive is nearer to its query than to the negatives (PAIR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class PassageCentric(Weighted):
    """Softmax with the positive in the query's place: over the queries of the batch and its mined negatives (PAIR).

    To be added to the softmax loss. A query for which the passage is judged relevant too, and a negative that is judged
    relevant to the row's query, are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"candidates", "passage_scores"})
    name: Literal["p_centric"] = "p_centric"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """-(1/B) sum_i log[ e^s(p_i,q_i) / (sum over queries of e^s(p_i,q) + sum over negatives of e^s(p_i,n)) ].

    Args:
        batch: scores and `among`, float32 [B, C]; p_i is the own positive of row i.

    Returns:
        float32 [].
    """
    import torch

    from hardneg.methods.batch import Origin

    assert batch.among is not None
    own = (batch.origin == Origin.OWN).int().argmax(1)  # [B], the column of p_i
    rows = torch.arange(len(own), device=own.device)
    there = batch.listed[rows, own]
    queries = batch.scores.float()[:, own].T  # s(p_i, q_j) at [i, j]
    met = batch.listed[:, own].T & there
    met[rows, rows] = True
    mined = (batch.own_negatives() | (batch.origin == Origin.SHARED)) & batch.listed
    known = torch.cat((met, mined), 1)
    shares = torch.cat((queries, batch.among.float()), 1).masked_fill(~known, -torch.inf).logsumexp(1)
    return ((shares - queries[rows, rows]) * there).sum() / there.sum().clamp_min(1)
