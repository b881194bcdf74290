"""Sources and samplers: which candidates there are, and which of them are drawn."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chisquare

from hardneg.methods.draws import Candidates, Drawn, Offer, Positions
from hardneg.methods.lists import MinedLists, WholeCollection
from hardneg.methods.samplers.all import draw as everything
from hardneg.methods.samplers.top import draw as top
from hardneg.methods.samplers.uniform import draw as uniform

LISTS = {0: [7, 3, 9, 1, 5], 2: [4], 3: [8, 2, 6]}  # query 1 has none


@pytest.fixture
def lists() -> MinedLists:
    query = np.repeat(list(LISTS), [len(passages) for passages in LISTS.values()])
    return MinedLists(query, np.concatenate(list(LISTS.values())), queries=4)


def offer(queries: Positions, candidates: Candidates, positives: Positions | None = None) -> Offer:
    """An offer to queries that have one positive, passage 90, if nothing else is said."""
    return Offer(queries, np.full((len(queries), 1), 90) if positives is None else positives, candidates)


def test_mined_lists(lists: MinedLists) -> None:
    found = lists.of(np.array([3, 1, 0, 2]))
    assert found.available(None).tolist() == found.available(100).tolist() == [3, 0, 5, 1]
    assert found.available(2).tolist() == [2, 0, 2, 1]
    assert lists.of(np.array([0, 3])).at(np.array([[4, 0], [1, 2]])).tolist() == [[5, 7], [2, 6]]
    assert not lists.ranked


@pytest.mark.parametrize("count", [1, 2])
def test_uniform_over_the_whole_collection(count: int) -> None:
    queries = np.zeros(4000, np.int64)
    candidates = WholeCollection(50).of(queries, None)
    drawn = uniform(offer(queries, candidates), np.random.default_rng(0), k=1, count=count, positives="one").negatives
    assert drawn.shape == (4000, count)
    assert chisquare(np.bincount(drawn.ravel(), minlength=50)).pvalue > 1e-3
    assert drawn.min() == 0 and drawn.max() == 49


def test_uniform_draws_all_subsets_alike(lists: MinedLists) -> None:
    queries = np.zeros(6000, np.int64)
    given = offer(queries, lists.of(queries))
    drawn = uniform(given, np.random.default_rng(1), k=4, count=2, positives="one").negatives
    counts = Counter(tuple(sorted(row)) for row in drawn.tolist())
    assert set(counts) == set(combinations(sorted(LISTS[0][:4]), 2))  # without repetition, never outside the first 4
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_negative_that_a_query_does_not_have(lists: MinedLists, count: int) -> None:
    queries = np.array([0, 1, 2, 3] * 50)
    given = offer(queries, lists.of(queries))
    drawn = uniform(given, np.random.default_rng(2), k=10, count=count, positives="one").negatives
    for row, query in zip(drawn.tolist(), queries.tolist(), strict=True):
        own = LISTS.get(query, [])
        found = [passage for passage in row if passage >= 0]
        assert len(found) == len(set(found)) == min(count, len(own))
        assert set(found) <= set(own)
        assert row[len(found) :] == [-1] * (count - len(found))


def test_top(lists: MinedLists) -> None:
    queries = np.array([3, 1, 2, 0])
    drawn = top(offer(queries, lists.of(queries)), np.random.default_rng(0), count=3, positives="one")
    assert drawn.negatives.tolist() == [[8, 2, 6], [-1, -1, -1], [4, -1, -1], [7, 3, 9]]
    assert drawn.positives.tolist() == [[90]] * 4


def test_all(lists: MinedLists) -> None:
    queries = np.array([3, 1, 2, 0])
    drawn = everything(offer(queries, lists.of(queries)), np.random.default_rng(0), positives="one").negatives
    padded = [[*LISTS.get(query, []), *[-1] * (5 - len(LISTS.get(query, [])))] for query in queries.tolist()]
    assert drawn.tolist() == padded


def test_one_positive_is_drawn_uniformly(lists: MinedLists) -> None:
    queries = np.zeros(3000, np.int64)
    positives = np.tile([[11, 14, 19, -1]], (3000, 1))
    drawn = top(offer(queries, lists.of(queries), positives), np.random.default_rng(5), count=1, positives="one")
    counts = Counter(drawn.positives.ravel().tolist())
    assert set(counts) == {11, 14, 19}
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    ("positives", "expected"),
    [
        ("missing", [[9, -1], [11, 12], [4, 20]]),
        ("if_none", [[-1, -1], [11, 12], [4, 20]]),
    ],
)
def test_which_positives_join(lists: MinedLists, positives: str, expected: list[list[int]]) -> None:
    """Query 0 drew one of its two, query 1 has no candidates, query 3 drew none of its two."""
    queries = np.array([0, 1, 3])
    judged = np.array([[3, 9, -1], [11, 12, -1], [4, 20, -1]])
    drawn: Drawn = top(
        offer(queries, lists.of(queries), judged), np.random.default_rng(0), count=2, positives=positives
    )
    assert drawn.negatives.tolist() == [[7, 3], [-1, -1], [8, 2]]
    assert drawn.positives.tolist() == expected
