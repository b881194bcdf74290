"""Losses and their gradients against plain loops over pairs in float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection

import pytest
import torch

from hardneg.methods.batch import Origin, TrainingBatch
from hardneg.methods.losses.lambda_ranknet import loss as lambda_ranknet
from hardneg.methods.losses.list_ranknet import loss as list_ranknet
from hardneg.methods.losses.margin_mse import loss as margin_mse
from hardneg.methods.losses.ranknet import loss as ranknet
from hardneg.methods.losses.softmax import loss as softmax

# The weight of a pair (i, j), from the ranks and grades of its list and the ideal DCG.
Weight = Callable[[list[int], list[int], int, int, float], float]
DRAWN, OTHERS = (Origin.MINED,), (Origin.OWN, Origin.IN_BATCH, Origin.SHARED)


def sp(x: torch.Tensor) -> torch.Tensor:
    return torch.logaddexp(torch.zeros_like(x), x)


def assert_same(ours: torch.Tensor, by_hand: torch.Tensor, *leaves: torch.Tensor) -> None:
    """The same value and the same gradients."""
    torch.testing.assert_close(ours.double(), by_hand, rtol=1e-5, atol=1e-6)
    for mine, expected in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(by_hand, leaves, allow_unused=True), strict=True
    ):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if expected is None else expected, rtol=1e-5, atol=1e-6)


def random_scores(rows: int, columns: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(rows, columns, generator=random, dtype=torch.float64)).requires_grad_()


def batch_of(scores: torch.Tensor, grades: torch.Tensor, listed: torch.Tensor, origin: torch.Tensor) -> TrainingBatch:
    """A batch whose judged passages are all in it."""
    passages = torch.arange(scores.shape[1])
    return TrainingBatch(scores, grades, listed, origin, passages, grades.sort(1, descending=True).values)


def pairs_of(batch: TrainingBatch, row: int, origins: Collection[Origin] = tuple(Origin)) -> list[tuple[int, int]]:
    """The pairs of a row in which the first passage has the higher grade, the second one of some origins."""
    grades, listed, origin = (values[row].tolist() for values in (batch.grades, batch.listed, batch.origin))
    columns = [column for column in range(len(grades)) if listed[column]]
    return [(i, j) for i in columns for j in columns if grades[i] > grades[j] and origin[j] in origins]


# --- passages that all queries meet: a matrix of scores ---


@pytest.fixture(params=["one positive", "several positives"])
def matrix(request: pytest.FixtureRequest) -> TrainingBatch:
    """Five queries, their positives and 11 negatives, of which a part is listed; row 4 has no negative.

    With several positives, columns 5 to 9 are second positives, some of a higher grade, and row 2 has none there.
    """
    own = 1 if request.param == "one positive" else 2
    scores = random_scores(5, 5 * own + 11, seed=0)
    random = torch.Generator().manual_seed(1)
    listed = torch.rand(scores.shape, generator=random) < 0.6
    listed[4] = False
    grades, origin = torch.zeros(scores.shape, dtype=torch.int64), torch.zeros(scores.shape, dtype=torch.int8)
    origin[:, : 5 * own], origin[:, 5 * own :] = Origin.IN_BATCH, Origin.SHARED
    for row in range(5):
        origin[row, 5 * own + 2 * row : 5 * own + 2 * row + 2] = Origin.MINED
        for number in range(own):
            column = row + 5 * number
            origin[row, column], grades[row, column], listed[row, column] = Origin.OWN, 1 + number * row % 3, True
    if own == 2:
        listed[2, 7], grades[2, 7] = False, 0
    return batch_of(scores, grades, listed, origin)


def mean_by_hand(batch: TrainingBatch, origins: Collection[Origin] = tuple(Origin)) -> torch.Tensor:
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(batch.scores)):
        for i, j in pairs_of(batch, row, origins):
            total, count = total + sp(batch.scores[row, j] - batch.scores[row, i]), count + 1
    assert count > 0
    return total / count


def test_ranknet_pools_all_pairs(matrix: TrainingBatch) -> None:
    assert_same(ranknet(matrix, alpha=None), mean_by_hand(matrix), matrix.scores)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
def test_ranknet_weighs_what_belongs_to_other_rows_by_alpha(matrix: TrainingBatch, alpha: float) -> None:
    by_hand = mean_by_hand(matrix, DRAWN) + alpha * mean_by_hand(matrix, OTHERS)
    assert_same(ranknet(matrix, alpha=alpha), by_hand, matrix.scores)


def test_softmax(matrix: TrainingBatch) -> None:
    """Each positive against the passages of a lower grade."""
    terms = []
    for row, scores in enumerate(matrix.scores):
        pairs = pairs_of(matrix, row)
        for i in range(scores.shape[0]):
            if matrix.grades[row, i] > 0 and matrix.listed[row, i]:
                negatives = [scores[j].exp() for first, j in pairs if first == i]
                terms.append(-(scores[i].exp() / torch.stack([scores[i].exp(), *negatives]).sum()).log())
    assert_same(softmax(matrix), torch.stack(terms).mean(), matrix.scores)


def test_margin_mse_leaves_out_what_the_teacher_did_not_score(matrix: TrainingBatch) -> None:
    random = torch.Generator().manual_seed(2)
    teacher = torch.randn(matrix.scores.shape, generator=random)
    teacher[torch.rand(teacher.shape, generator=random) < 0.2] = math.nan
    terms, unknown = [], 0
    for row in range(len(teacher)):
        for i, j in pairs_of(matrix, row):
            taught, margin = (values[row, i] - values[row, j] for values in (teacher.double(), matrix.scores))
            unknown += int(taught.isnan())
            terms += [] if taught.isnan() else [(margin - taught) ** 2]
    assert unknown > 0
    taught_batch = dataclasses.replace(matrix, teacher=teacher)
    assert_same(margin_mse(taught_batch), torch.stack(terms).mean(), matrix.scores)


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
def test_large_gaps_stay_finite(gap: float) -> None:
    """Two queries with a positive of score 0 and three negatives."""
    scores = torch.tensor([[0.0, gap, gap, gap]] * 2, requires_grad=True)
    grades = torch.tensor([[1, 0, 0, 0]] * 2)
    origin = torch.tensor([[Origin.OWN, *[Origin.SHARED] * 3]] * 2, dtype=torch.int8)
    batch = batch_of(scores, grades, torch.ones(2, 4, dtype=torch.bool), origin)
    pairs, share, ranks = ranknet(batch, alpha=None), softmax(batch), lambda_ranknet(batch, metric="MRR", cut=10)
    assert pairs.item() == pytest.approx(max(gap, 0))
    assert share.item() == pytest.approx(gap + math.log(3) if gap > 0 else 0)
    weights = [1 / 1 - 1 / 4, 1 / 2 - 1 / 4, 1 / 3 - 1 / 4]  # the positive ranks last
    assert ranks.item() == pytest.approx(gap * sum(weights) / 3 if gap > 0 else 0)
    assert torch.isfinite(torch.autograd.grad(pairs + share + ranks, scores)[0]).all()


@pytest.mark.parametrize("listed", [True, False])
def test_without_any_pair_the_loss_is_zero(listed: bool) -> None:
    """Positives without a negative, or passages none of which is relevant."""
    scores = random_scores(2, 3, seed=3)
    grades = torch.zeros(2, 3, dtype=torch.int64) if listed else torch.ones(2, 3, dtype=torch.int64)
    mask = torch.ones(2, 3, dtype=torch.bool) if listed else torch.eye(3, dtype=torch.bool)[:2]
    batch = batch_of(scores, grades, mask, torch.full((2, 3), Origin.SHARED, dtype=torch.int8))
    batch = dataclasses.replace(batch, teacher=torch.randn(2, 3))
    losses = [ranknet(batch, alpha=None), ranknet(batch, alpha=1.0), softmax(batch), margin_mse(batch)]
    losses += [list_ranknet(batch), *(lambda_ranknet(batch, metric=metric, cut=5) for metric in ("MRR", "nDCG"))]
    for loss in losses:
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, scores)[0].any()


# --- ranked lists ---

GRADES = [
    [0, 1, 0, 0, 0, 0, 0, 0],  # one relevant
    [0, 2, 0, 1, 0, 3, 0, 1],  # graded, several
    [0, 0, 0, 0, 0, 0, 1, 2],  # both were appended
    [0, 0, 0, 0, 0, 0, 0, 0],  # nothing to learn from
]
LENGTHS = [8, 8, 8, 5]
JUDGED = [[1, 0, 0, 0, 0], [3, 2, 1, 1, 1], [2, 1, 0, 0, 0], [0, 0, 0, 0, 0]]  # query 1 has one more elsewhere


@pytest.fixture
def lists() -> TrainingBatch:
    """Lists in the order of a ranking that is not that of their scores, as the index has it."""
    grades = torch.tensor(GRADES)
    listed = torch.tensor([[place < length for place in range(8)] for length in LENGTHS])
    origin = torch.where(grades > 0, int(Origin.OWN), int(Origin.MINED)).to(torch.int8)
    rank = torch.arange(1, 9).expand(4, 8)
    passages = torch.arange(32).view(4, 8)
    return TrainingBatch(random_scores(4, 8, seed=1), grades, listed, origin, passages, torch.tensor(JUDGED), rank)


def ranks_by_hand(batch: TrainingBatch, row: int) -> list[int]:
    """Ranks of the index's list; or by score, what is not listed last and ties in their order."""
    if batch.rank is not None:
        return [int(rank) for rank in batch.rank[row]]
    scores, listed = batch.scores[row].tolist(), batch.listed[row].tolist()
    order = sorted(range(len(scores)), key=lambda column: (not listed[column], -scores[column], column))
    return [order.index(column) + 1 for column in range(len(scores))]


def list_by_hand(batch: TrainingBatch, weight: Weight, cut: int = 100) -> torch.Tensor:
    queries = []
    for row, scores in enumerate(batch.scores):
        ranks, grades = ranks_by_hand(batch, row), batch.grades[row].tolist()
        ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(batch.judged[row].tolist()[:cut]))
        pairs, total = pairs_of(batch, row), torch.zeros((), dtype=torch.float64)
        for i, j in pairs:
            total = total + weight(ranks, grades, i, j, ideal) * sp(scores[j] - scores[i])
        queries.append(total / max(len(pairs), 1))
    return torch.stack(queries).mean()


def alike(ranks: list[int], grades: list[int], i: int, j: int, ideal: float) -> float:
    return 1.0


def reciprocal(cut: int) -> Weight:
    def r(rank: int) -> float:
        return 1 / rank if rank <= cut else 0.0

    return lambda ranks, grades, i, j, ideal: 0.0 if grades[j] > 0 else abs(r(ranks[i]) - r(ranks[j]))


def swapped_ndcg(cut: int) -> Weight:
    """What swapping two entries does to nDCG@cut: both lists are scored."""

    def dcg(ranks: list[int], grades: list[int]) -> float:
        return sum(grade / math.log2(1 + rank) for rank, grade in zip(ranks, grades, strict=True) if rank <= cut)

    def weight(ranks: list[int], grades: list[int], i: int, j: int, ideal: float) -> float:
        other = grades.copy()
        other[i], other[j] = grades[j], grades[i]
        return abs(dcg(ranks, grades) - dcg(ranks, other)) / ideal

    return weight


@pytest.mark.parametrize("cut", [1, 3, 6, 100])
@pytest.mark.parametrize(("metric", "weight"), [("MRR", reciprocal), ("nDCG", swapped_ndcg)])
def test_lambda_ranknet(lists: TrainingBatch, metric: str, weight: Callable[[int], Weight], cut: int) -> None:
    ours = lambda_ranknet(lists, metric=metric, cut=cut)
    assert_same(ours, list_by_hand(lists, weight(cut), cut), lists.scores)


@pytest.mark.parametrize(("metric", "weight"), [("MRR", reciprocal), ("nDCG", swapped_ndcg)])
def test_lambda_ranknet_on_a_matrix(matrix: TrainingBatch, metric: str, weight: Callable[[int], Weight]) -> None:
    """There is no ranking of the index: ranks are those of the scores."""
    ours = lambda_ranknet(matrix, metric=metric, cut=5)
    assert_same(ours, list_by_hand(matrix, weight(5), 5), matrix.scores)


def test_list_ranknet(lists: TrainingBatch) -> None:
    assert_same(list_ranknet(lists), list_by_hand(lists, alike), lists.scores)


def test_list_ranknet_on_a_matrix(matrix: TrainingBatch) -> None:
    assert_same(list_ranknet(matrix), list_by_hand(matrix, alike), matrix.scores)


def test_ranknet_and_softmax_on_lists(lists: TrainingBatch) -> None:
    """RankNet pools the pairs of all lists; softmax averages over the relevant passages of all lists."""
    assert_same(ranknet(lists, alpha=None), mean_by_hand(lists), lists.scores)
    terms = []
    for row, scores in enumerate(lists.scores):
        pairs = pairs_of(lists, row)
        for i in sorted({i for i, _ in pairs}):
            shares = torch.stack([scores[i].exp(), *(scores[j].exp() for first, j in pairs if first == i)])
            terms.append(-(shares[0] / shares.sum()).log())
    assert len(terms) == 7
    assert_same(softmax(lists), torch.stack(terms).mean(), lists.scores)


@pytest.mark.parametrize("relevant", [0, 2, 5, 7])
def test_weights_are_differences_of_reciprocal_ranks(relevant: int) -> None:
    """With equal scores the gradient of each negative is its weight / (2 x pairs). The cut is 4, the list is 8 long."""
    scores, grades = torch.zeros(1, 8, requires_grad=True), torch.zeros(1, 8, dtype=torch.int64)
    grades[0, relevant] = 1
    origin = torch.where(grades > 0, int(Origin.OWN), int(Origin.MINED)).to(torch.int8)
    loss = lambda_ranknet(batch_of(scores, grades, torch.ones(1, 8, dtype=torch.bool), origin), metric="MRR", cut=4)
    weights = (torch.autograd.grad(loss, scores)[0] * 2 * 7).squeeze(0)
    r = [1, 1 / 2, 1 / 3, 1 / 4, 0, 0, 0, 0]
    for place in set(range(8)) - {relevant}:
        assert weights[place].item() == pytest.approx(abs(r[relevant] - r[place]), abs=1e-6)
    if relevant >= 4:  # appended beyond the cut: 1 / rank of the negative, and nothing where both are beyond
        assert weights[1].item() == pytest.approx(1 / 2, abs=1e-6)
        assert [weights[place].item() for place in range(4, 8) if place != relevant] == [0, 0, 0]


def test_queries_do_not_interact(lists: TrainingBatch) -> None:
    for metric in ("MRR", "nDCG"):
        alone = []
        for row in range(4):
            fields = dataclasses.fields(TrainingBatch)
            parts = {field.name: getattr(lists, field.name) for field in fields}
            one = {name: values[row : row + 1] for name, values in parts.items() if values is not None}
            alone.append(lambda_ranknet(TrainingBatch(**one), metric=metric, cut=5))
        together = lambda_ranknet(lists, metric=metric, cut=5)
        assert_same(together, torch.stack(alone).double().mean(), lists.scores)


def test_ranks_by_score_put_ties_in_order_and_what_is_not_listed_last() -> None:
    scores = torch.tensor([[0.5, 9.0, 2.0, 0.5], [1.0, 3.0, 2.0, 0.0]])
    listed = torch.tensor([[True, False, True, True], [True, True, True, True]])
    nothing = torch.zeros(2, 4, dtype=torch.int64)
    batch = batch_of(scores, nothing, listed, nothing.to(torch.int8))
    assert batch.ranks().tolist() == [[2, 4, 1, 3], [3, 1, 2, 4]]
    given = dataclasses.replace(batch, rank=torch.arange(1, 5).expand(2, 4))
    assert given.ranks().tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize("loss", [list_ranknet, lambda batch: lambda_ranknet(batch, metric="nDCG", cut=3)])
def test_a_list_without_ranks_is_read_in_the_order_of_its_scores(
    lists: TrainingBatch, loss: Callable[[TrainingBatch], torch.Tensor]
) -> None:
    unranked = dataclasses.replace(lists, rank=None)
    order = unranked.ranks().argsort(1)
    moved = {name: getattr(lists, name).gather(1, order) for name in ("scores", "grades", "listed", "origin")}
    assert not torch.equal(moved["grades"], lists.grades)
    assert_same(loss(unranked), loss(dataclasses.replace(lists, **moved)).double(), lists.scores)
