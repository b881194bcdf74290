"""Loss axis. Scores are inner products over the temperature; every loss is computed in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import softplus

# From positions of the better passages [B, P, 1], their grades [B, P, 1] and all grades [B, 1, L] to weights [B, P, L].
Weigh = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def ranknet(
    scores: torch.Tensor, positive: torch.Tensor, in_batch: torch.Tensor, mined: torch.Tensor, *, alpha: float | None
) -> torch.Tensor:
    """RankNet (Zhan et al., Eq. 4 and 13): softplus(s(q, d-) - s(q, d+)) averaged over pairs.

    Args:
        scores: float [B, C], every query against every column.
        positive: float [B], the score of each query's own positive.
        in_batch: bool [B, C], columns that are in-batch negatives of a row.
        mined: bool [B, C], columns that are mined negatives of a row.
        alpha: None pools all pairs in one mean, as the released code does; a number gives
            mean over mined pairs + alpha * mean over in-batch pairs.

    Returns:
        The loss, a scalar; 0 where there is no pair.
    """
    pairs = softplus(scores.float() - positive.float().unsqueeze(1))
    if alpha is None:
        return _mean(pairs, in_batch | mined)
    return _mean(pairs, mined) + alpha * _mean(pairs, in_batch)


def softmax(scores: torch.Tensor, positive: torch.Tensor, in_batch: torch.Tensor, mined: torch.Tensor) -> torch.Tensor:
    """Softmax NCE: -log( e^s+ / (e^s+ + sum over the row's negatives of e^s-) ), averaged over rows.

    Arguments as in `ranknet`.
    """
    own = positive.float().unsqueeze(1)
    negatives = scores.float().masked_fill(~(in_batch | mined), -torch.inf)
    return (torch.logsumexp(torch.cat((own, negatives), 1), 1) - own.squeeze(1)).mean()


def lambda_ranknet(
    scores: torch.Tensor, grades: torch.Tensor, listed: torch.Tensor, ideal: torch.Tensor, *, metric: str, cut: int
) -> torch.Tensor:
    """RankNet over a retrieved list, pairs weighted by the change in `metric`@`cut` (section 4.2; LambdaRank).

    For list positions i and j with grade_i > grade_j the weight is |r_i - r_j| for MRR, with r the reciprocal rank, and
    |(g_i - g_j)(c_i - c_j)| / ideal for nDCG, with g the grade and c = 1/log2(1 + rank); r and c are 0 beyond `cut`.
    A query's loss is the mean over its pairs, the batch's the mean over queries.

    Args:
        scores: float [B, L], in list order: column i holds rank i + 1.
        grades: int [B, L], 0 where not judged relevant.
        listed: bool [B, L], False beyond a list's end.
        ideal: float [B], the best possible DCG@cut of each query (linear gain); not used by MRR.
        metric: MRR or nDCG.
        cut: ranks beyond it count nothing.

    Returns:
        The loss, a scalar.
    """
    rank = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=torch.float32)
    inside = rank <= cut
    if metric == "MRR":
        value = torch.where(inside, 1 / rank, 0.0)
        return _list_loss(scores, grades, listed, lambda i, high, low: (value[i] - value).abs())
    discount = torch.where(inside, 1 / torch.log2(1 + rank), 0.0)
    scale = 1 / ideal.clamp_min(torch.finfo(torch.float32).tiny).view(-1, 1, 1)
    return _list_loss(
        scores, grades, listed, lambda i, high, low: ((high - low) * (discount[i] - discount)).abs() * scale
    )


def list_ranknet(scores: torch.Tensor, grades: torch.Tensor, listed: torch.Tensor, ideal: torch.Tensor) -> torch.Tensor:
    """RankNet over a retrieved list, all pairs weighted alike. Arguments as in `lambda_ranknet`."""
    return _list_loss(scores, grades, listed, lambda i, high, low: torch.ones_like(high - low))


def _list_loss(scores: torch.Tensor, grades: torch.Tensor, listed: torch.Tensor, weigh: Weigh) -> torch.Tensor:
    """Mean over queries of the mean over pairs (i, j) with grade_i > grade_j of weight * softplus(s_j - s_i).

    Only rows of relevant passages can be the better half of a pair, so pairs are laid out [B, P, L], with P the most
    relevant passages that a list of this batch holds.
    """
    most = max(int((grades > 0).sum(1).max()), 1)
    best = grades.topk(most, dim=1).indices  # [B, P]
    high, low = grades.gather(1, best).unsqueeze(2).float(), grades.unsqueeze(1).float()
    pairs = (high > low) & listed.unsqueeze(1)
    gap = scores.float().unsqueeze(1) - scores.float().gather(1, best).unsqueeze(2)
    weighted = weigh(best.unsqueeze(2), high, low) * softplus(gap) * pairs
    return (weighted.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)).mean()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
