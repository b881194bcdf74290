"""Losses and their gradients against plain loops over pairs in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from hardneg.losses import lambda_ranknet, list_ranknet, ranknet, softmax

Weight = Callable[[list[int], int, int, float], float]


def sp(x: torch.Tensor) -> torch.Tensor:
    return torch.logaddexp(torch.zeros_like(x), x)


def assert_same(ours: torch.Tensor, by_hand: torch.Tensor, *leaves: torch.Tensor) -> None:
    """The same value and the same gradients."""
    torch.testing.assert_close(ours.double(), by_hand, rtol=1e-5, atol=1e-6)
    for mine, expected in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(by_hand, leaves, allow_unused=True), strict=True
    ):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if expected is None else expected, rtol=1e-5, atol=1e-6)


# --- a matrix of scores: ranknet, softmax ---


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores [5, 11] and positives [5] to differentiate, and two masks that exclude each other; row 4 has no pair."""
    random = torch.Generator().manual_seed(0)
    scores = (4 * torch.randn(5, 11, generator=random, dtype=torch.float64)).requires_grad_()
    positive = (4 * torch.randn(5, generator=random, dtype=torch.float64)).requires_grad_()
    kind = torch.randint(3, (5, 11), generator=random)
    kind[4] = 0
    return scores, positive, kind == 1, kind == 2


def mean_by_hand(scores: torch.Tensor, positive: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for row in range(scores.shape[0]):
        for column in range(scores.shape[1]):
            if any(mask[row, column] for mask in masks):
                total, pairs = total + sp(scores[row, column] - positive[row]), pairs + 1
    return total / pairs


def test_ranknet_pools_all_pairs(batch: tuple[torch.Tensor, ...]) -> None:
    scores, positive, in_batch, mined = batch
    by_hand = mean_by_hand(scores, positive, in_batch, mined)
    assert_same(ranknet(scores, positive, in_batch, mined, alpha=None), by_hand, scores, positive)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
def test_ranknet_weighs_in_batch_pairs_by_alpha(batch: tuple[torch.Tensor, ...], alpha: float) -> None:
    scores, positive, in_batch, mined = batch
    by_hand = mean_by_hand(scores, positive, mined) + alpha * mean_by_hand(scores, positive, in_batch)
    assert_same(ranknet(scores, positive, in_batch, mined, alpha=alpha), by_hand, scores, positive)


def test_softmax(batch: tuple[torch.Tensor, ...]) -> None:
    scores, positive, in_batch, mined = batch
    rows = []
    for row in range(len(scores)):
        terms = [positive[row].exp()]
        terms += [scores[row, c].exp() for c in range(scores.shape[1]) if in_batch[row, c] or mined[row, c]]
        rows.append(-(terms[0] / torch.stack(terms).sum()).log())
    assert_same(softmax(scores, positive, in_batch, mined), torch.stack(rows).mean(), scores, positive)


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
def test_large_gaps_stay_finite(gap: float) -> None:
    scores, positive = torch.full((2, 3), gap, requires_grad=True), torch.zeros(2)
    everything, nothing = torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)
    pairs = ranknet(scores, positive, everything, nothing, alpha=None)
    assert pairs.item() == pytest.approx(max(gap, 0))
    share = softmax(scores, positive, everything, nothing)
    assert share.item() == pytest.approx(gap + math.log(3) if gap > 0 else 0)
    ranks = lambda_ranknet(
        torch.stack((scores[0], -scores[0])).T.reshape(1, -1),
        torch.tensor([[0, 1, 0, 0, 0, 0]]),
        torch.ones(1, 6, dtype=torch.bool),
        torch.ones(1),
        metric="MRR",
        cut=10,
    )
    assert torch.isfinite(ranks)
    assert torch.isfinite(torch.autograd.grad(pairs + share + ranks, scores)[0]).all()


def test_without_any_pair_the_loss_is_zero() -> None:
    scores, nothing = torch.randn(2, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.bool)
    positive = torch.randn(2)
    for loss in (
        ranknet(scores, positive, nothing, nothing, alpha=None),
        ranknet(scores, positive, nothing, nothing, alpha=1.0),
        softmax(scores, positive, nothing, nothing),
        list_ranknet(scores, torch.zeros(2, 3, dtype=torch.int64), ~nothing, torch.zeros(2)),
    ):
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, scores)[0].any()


# --- a retrieved list: lambda_ranknet, list_ranknet ---

GRADES = [
    [0, 1, 0, 0, 0, 0, 0, 0],  # one relevant
    [0, 2, 0, 1, 0, 3, 0, 1],  # graded, several
    [0, 0, 0, 0, 0, 0, 1, 2],  # both were appended
    [0, 0, 0, 0, 0, 0, 0, 0],  # nothing to learn from
]
LENGTHS = [8, 8, 8, 5]


@pytest.fixture
def lists() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    scores = (3 * torch.randn(4, 8, generator=random, dtype=torch.float64)).requires_grad_()
    listed = torch.tensor([[place < length for place in range(8)] for length in LENGTHS])
    return scores, torch.tensor(GRADES), listed, torch.tensor([1.0, 5.5, 2.6, 0.0])


def list_by_hand(
    scores: torch.Tensor, grades: torch.Tensor, listed: torch.Tensor, ideal: torch.Tensor, weight: Weight
) -> torch.Tensor:
    queries = []
    for query in range(len(scores)):
        own = grades[query].tolist()
        total, pairs = torch.zeros((), dtype=torch.float64), 0
        for i in range(len(own)):
            for j in range(len(own)):
                if listed[query, i] and listed[query, j] and own[i] > own[j]:
                    gap = scores[query, j] - scores[query, i]
                    total, pairs = total + weight(own, i, j, float(ideal[query])) * sp(gap), pairs + 1
        queries.append(total / max(pairs, 1))
    return torch.stack(queries).mean()


def reciprocal(cut: int) -> Weight:
    def r(place: int) -> float:
        return 1 / (place + 1) if place + 1 <= cut else 0.0

    return lambda own, i, j, ideal: abs(r(i) - r(j))


def swapped_ndcg(cut: int) -> Weight:
    """What swapping two entries does to nDCG@cut: both lists are scored."""

    def dcg(own: list[int]) -> float:
        return sum(grade / math.log2(place + 2) for place, grade in enumerate(own[:cut]))

    def weight(own: list[int], i: int, j: int, ideal: float) -> float:
        other = own.copy()
        other[i], other[j] = own[j], own[i]
        return abs(dcg(own) - dcg(other)) / ideal

    return weight


@pytest.mark.parametrize("cut", [1, 3, 6, 100])
@pytest.mark.parametrize(("metric", "weight"), [("MRR", reciprocal), ("nDCG", swapped_ndcg)])
def test_lambda_ranknet(
    lists: tuple[torch.Tensor, ...], metric: str, weight: Callable[[int], Weight], cut: int
) -> None:
    scores, grades, listed, ideal = lists
    ours = lambda_ranknet(scores, grades, listed, ideal.float(), metric=metric, cut=cut)
    assert_same(ours, list_by_hand(scores, grades, listed, ideal, weight(cut)), scores)


def test_list_ranknet(lists: tuple[torch.Tensor, ...]) -> None:
    scores, grades, listed, ideal = lists
    by_hand = list_by_hand(scores, grades, listed, ideal, lambda own, i, j, ideal: 1.0)
    assert_same(list_ranknet(scores, grades, listed, ideal), by_hand, scores)


@pytest.mark.parametrize("relevant", [0, 2, 5, 7])
def test_weights_are_differences_of_reciprocal_ranks(relevant: int) -> None:
    """With equal scores the gradient of each negative is its weight / (2 x pairs). The cut is 4, the list is 8 long."""
    scores, grades = torch.zeros(1, 8, requires_grad=True), torch.zeros(1, 8, dtype=torch.int64)
    grades[0, relevant] = 1
    loss = lambda_ranknet(scores, grades, torch.ones(1, 8, dtype=torch.bool), torch.ones(1), metric="MRR", cut=4)
    weights = (torch.autograd.grad(loss, scores)[0] * 2 * 7).squeeze(0)
    r = [1, 1 / 2, 1 / 3, 1 / 4, 0, 0, 0, 0]
    for place in set(range(8)) - {relevant}:
        assert weights[place].item() == pytest.approx(abs(r[relevant] - r[place]), abs=1e-6)
    if relevant >= 4:  # appended beyond the cut: 1 / rank of the negative, and nothing where both are beyond
        assert weights[1].item() == pytest.approx(1 / 2, abs=1e-6)
        assert [weights[place].item() for place in range(4, 8) if place != relevant] == [0, 0, 0]


def test_queries_do_not_interact(lists: tuple[torch.Tensor, ...]) -> None:
    scores, grades, listed, ideal = lists
    for metric in ("MRR", "nDCG"):
        alone = [
            lambda_ranknet(
                scores[q : q + 1], grades[q : q + 1], listed[q : q + 1], ideal[q : q + 1].float(), metric=metric, cut=5
            )
            for q in range(4)
        ]
        together = lambda_ranknet(scores, grades, listed, ideal.float(), metric=metric, cut=5)
        assert_same(together, torch.stack(alone).double().mean(), scores)
