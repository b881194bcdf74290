"""Sources and samplers of negatives, mining, and the live list."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import chisquare

from hardneg.data.judgements import Judgements
from hardneg.negatives.filters import keep_all
from hardneg.negatives.samplers import top, uniform
from hardneg.negatives.sources import MinedLists, WholeCollection, live, mined
from hardneg.retrieval import runs
from hardneg.retrieval.mine import mine

LISTS = {0: [7, 3, 9, 1, 5], 2: [4], 3: [8, 2, 6]}  # query 1 has none


@pytest.fixture
def candidates() -> MinedLists:
    query = np.repeat(list(LISTS), [len(passages) for passages in LISTS.values()])
    return MinedLists(query, np.concatenate(list(LISTS.values())), queries=4)


def judgements(entries: list[tuple[int, int, int]], queries: int, passages: int) -> Judgements:
    query, passage, grade = np.array(entries, np.int64).reshape(-1, 3).T
    return Judgements(query, passage, grade, queries, passages)


def test_mined_lists(candidates: MinedLists) -> None:
    queries = np.array([3, 1, 0, 2])
    assert candidates.available(queries, 100).tolist() == [3, 0, 5, 1]
    assert candidates.available(queries, 2).tolist() == [2, 0, 2, 1]
    assert candidates.at(np.array([0, 3]), np.array([[4, 0], [1, 2]])).tolist() == [[5, 7], [2, 6]]


@pytest.mark.parametrize("count", [1, 2])
def test_uniform_over_the_whole_collection(count: int) -> None:
    rng = np.random.default_rng(0)
    drawn = uniform(WholeCollection(50), np.zeros(4000, np.int64), rng, k=1, count=count)
    assert drawn.shape == (4000, count)
    assert chisquare(np.bincount(drawn.ravel(), minlength=50)).pvalue > 1e-3
    assert drawn.min() == 0 and drawn.max() == 49


def test_uniform_draws_all_subsets_alike(candidates: MinedLists) -> None:
    drawn = uniform(candidates, np.zeros(6000, np.int64), np.random.default_rng(1), k=4, count=2)
    counts = Counter(tuple(sorted(row)) for row in drawn.tolist())
    assert set(counts) == set(combinations(sorted(LISTS[0][:4]), 2))  # without repetition, never outside the first 4
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_negative_that_a_query_does_not_have(candidates: MinedLists, count: int) -> None:
    queries = np.array([0, 1, 2, 3] * 50)
    for row, query in zip(
        uniform(candidates, queries, np.random.default_rng(2), k=10, count=count).tolist(), queries, strict=True
    ):
        own = LISTS.get(int(query), [])
        found = [passage for passage in row if passage >= 0]
        assert len(found) == len(set(found)) == min(count, len(own))
        assert set(found) <= set(own)
        assert row[len(found) :] == [-1] * (count - len(found))


def test_top(candidates: MinedLists) -> None:
    drawn = top(candidates, np.array([3, 1, 2, 0]), np.random.default_rng(0), count=3)
    assert drawn.tolist() == [[8, 2, 6], [-1, -1, -1], [4, -1, -1], [7, 3, 9]]


def test_mining_removes_judged_positives_and_keeps_ranks(tmp_path: Path) -> None:
    ranking = {0: [5, 1, 3], 1: [2], 3: [4, 0]}  # query 2 found nothing
    rows = [(query, p, rank) for query, found in ranking.items() for rank, p in enumerate(found, 1)]
    query, passage, rank = np.array(rows, np.int32).T
    run = pa.table({"query": query, "passage": passage, "rank": rank, "score": (10.0 - rank).astype(np.float32)})
    pq.write_table(run, tmp_path / "run.parquet")
    judged = judgements([(0, 1, 1), (0, 3, 0), (1, 2, 2), (3, 5, 1)], queries=4, passages=6)
    target = tmp_path / "negatives.parquet"
    facts = mine(tmp_path / "run.parquet", judged, 4, keep_all, target)
    kept = pq.read_table(target)
    expected = [row for row in rows if row[:2] not in {(0, 1), (1, 2)}]
    assert [tuple(row.values())[:3] for row in kept.to_pylist()] == expected
    assert kept.schema.equals(run.schema)
    assert pc.all(pc.equal(kept.column("score"), pc.subtract(10.0, kept.column("rank")))).as_py()
    assert facts == {"candidates": 4, "positives_removed": 2, "queries_without_candidates": 2}
    lists = mined(target, 4, 6)
    assert lists.available(np.arange(4), 10).tolist() == [2, 0, 0, 2]
    assert lists.at(np.array([0]), np.array([[0, 1]])).tolist() == [[5, 3]]


def test_a_filter_sees_whole_queries_however_the_run_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 9, 50)
    query = np.repeat(np.arange(50), counts)
    passage = np.concatenate([rng.permutation(20)[:count] for count in counts])
    rank = np.concatenate([np.arange(1, count + 1) for count in counts])
    judged = judgements([(q, p, 1) for q, p in zip(query[::5].tolist(), passage[::5].tolist(), strict=True)], 50, 20)

    def best_of_three(candidates: pa.Table) -> pa.Table:
        """The last of a query's candidates, where it has three or more."""
        found, sizes = np.unique(candidates["query"].to_numpy(), return_counts=True)
        last = np.cumsum(sizes)[sizes >= 3] - 1
        assert np.all(np.diff(found) > 0)
        return candidates.take(pa.array(last))

    results = []
    for rows in (1 << 20, 16, 1):
        monkeypatch.setattr(runs, "_ROW_GROUP", rows)
        folder = tmp_path / str(rows)
        folder.mkdir()
        runs.write_run(folder / "run.parquet", query, passage, rank, -rank)
        monkeypatch.setattr(runs, "_ROW_GROUP", 8)
        facts = mine(folder / "run.parquet", judged, 50, best_of_three, folder / "negatives.parquet")
        results.append((facts, (folder / "negatives.parquet").read_bytes()))
    assert results[0] == results[1] == results[2]
    left = [np.flatnonzero((query == q) & ~judged.contains(query, passage)) for q in range(50)]
    expected = [int(rows[-1]) for rows in left if len(rows) >= 3]
    assert pq.read_table(tmp_path / "1" / "negatives.parquet")["passage"].to_pylist() == passage[expected].tolist()
    assert results[0][0] == {
        "candidates": len(expected),
        "positives_removed": len(query[::5]),
        "queries_without_candidates": 50 - len(expected),
    }
    assert 0 < len(expected) < 50


@pytest.mark.parametrize("append", ["missing", "if_none"])
def test_live_list_against_brute_force(append: str) -> None:
    rng = np.random.default_rng(3)
    queries, passages, depth = 40, 30, 8
    grades = {
        (query, int(passage)): int(rng.integers(4))
        for query in range(queries)
        for passage in rng.choice(passages, rng.integers(1, 6), replace=False)
    }
    grades |= {(query, query % passages): 1 for query in range(queries)}  # every training query has a positive
    judged = judgements([(q, p, grade) for (q, p), grade in grades.items()], queries, passages)
    asked = rng.permutation(queries)[:25]
    retrieved = np.stack([rng.choice(passages, depth, replace=False) for _ in asked])
    found, levels = live(retrieved, asked, judged, append=append)
    longest = 0
    for row, query in enumerate(asked.tolist()):
        top_k = retrieved[row].tolist()
        positives = sorted(p for (q, p), grade in grades.items() if q == query and grade > 0)
        missing = [p for p in positives if p not in top_k]
        joined = missing if append == "missing" or missing == positives else []
        longest = max(longest, len(joined))
        listed = [p for p in found[row].tolist() if p >= 0]
        assert listed == top_k + joined
        assert (found[row, len(listed) :] == -1).all()
        expected = [max(grades.get((query, p), 0), 0) for p in listed]
        assert levels[row].tolist() == expected + [0] * (found.shape[1] - len(listed))
    assert found.shape == levels.shape == (25, depth + longest)


def test_live_list_that_the_index_could_not_fill() -> None:
    judged = judgements([(0, 2, 1), (0, 4, 2)], queries=1, passages=5)
    found, grades = live(np.array([[4, 0, -1]]), np.array([0]), judged, append="missing")
    assert found.tolist() == [[4, 0, -1, 2]]
    assert grades.tolist() == [[2, 0, 0, 1]]
