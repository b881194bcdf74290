"""Pairwise errors against every score in float64, and against ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import stage_of
from made_analysis import collection_of, judgements_of, normal, passages_of, queries_of

from hardneg.analysis import pairwise_errors as errors
from hardneg.analysis.pairwise_errors import count_above, pairwise_errors
from hardneg.errors import HardnegError
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from workflow_scripts import count_errors

CPU = torch.device("cpu")
ROWS, QUERIES = 1000, 70


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight blocks of passages, the last one not full, and batches of 64 pairs."""
    monkeypatch.setattr(errors, "BLOCK", 128)
    monkeypatch.setattr(errors, "QUERY_BATCH", 64)


def store(folder: Path, vectors: np.ndarray, shards: int = 3) -> VectorStore:
    return vectors_of(passages_of(folder / f"vectors-{shards}", vectors, shards))


def few_values(rows: int, seed: int) -> np.ndarray:
    """Whole numbers of -1 to 1: scores are exact in float32, and nearly all passages tie with many others."""
    return np.random.default_rng(seed).integers(-1, 2, size=(rows, 16)).astype(np.float32)


def some_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in no order, queries with several, with one and with none."""
    rng = np.random.default_rng(5)
    return rng.integers(0, QUERIES, count), rng.integers(0, ROWS, count)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("count", [1, 64, 150])
def test_counts_are_those_of_every_score(tmp_path: Path, dtype: type, shards: int, count: int) -> None:
    queries, (query, passage) = few_values(QUERIES, 2), some_pairs(count)
    passages: np.ndarray = few_values(ROWS, 1).astype(dtype)
    counts = count_above(store(tmp_path, passages, shards), queries, query, passage, CPU)
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    own = scores[query, passage][:, None]
    assert np.median((scores[query] == own).sum(1)) > 50  # ties are what is tested
    assert counts.dtype == np.int64
    assert np.array_equal(counts, (scores[query] > own).sum(1))


def test_duplicates_tie_though_their_scores_are_rounded(tmp_path: Path) -> None:
    """Each vector stands three times, in other blocks and at other places in them."""
    once = normal(ROWS // 4, 1)
    passages = np.concatenate([once, once[::-1], np.roll(once, 77, axis=0), normal(ROWS // 4, 2)])
    queries = normal(QUERIES, 3)
    query, passage = some_pairs(300)
    counts = count_above(store(tmp_path, passages), queries, query, passage, CPU)
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    gap = scores[query] - scores[query, passage][:, None]
    assert (np.abs(gap[gap != 0]).min() > 1e-6) and ((gap == 0).sum(1) == 3).any()
    assert np.array_equal(counts, (gap > 0).sum(1))


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_change_nothing(tmp_path: Path, shards: int) -> None:
    passages, queries, pairs = normal(ROWS, 1), normal(QUERIES, 2), some_pairs(200)
    expected = count_above(store(tmp_path, passages, 3), queries, *pairs, CPU)
    assert np.array_equal(count_above(store(tmp_path, passages, shards + 10), queries, *pairs, CPU), expected)


def test_what_is_left_out_is_not_counted(tmp_path: Path) -> None:
    passages, queries = few_values(ROWS, 1), few_values(QUERIES, 2)
    query, passage = some_pairs(150)
    grades = dict.fromkeys(zip(*(part.tolist() for part in some_pairs(3000)), strict=True), 1)
    counts = count_above(
        store(tmp_path, passages), queries, query, passage, CPU, left_out=judgements_of(grades, QUERIES, ROWS)
    )
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    own = scores[query, passage]
    scores[tuple(np.array(list(grades)).T)] = -np.inf
    assert np.array_equal(counts, (scores[query] > own[:, None]).sum(1))


@pytest.mark.parametrize("relevant_grade", [1, 2])
def test_errors_are_ranks_less_relevant_passages_above(tmp_path: Path, relevant_grade: int) -> None:
    """E = rank - 1 - relevant passages above, with ranks from the searcher of the runs; a query is not judged."""
    passages, queries = normal(ROWS, 1), normal(QUERIES, 2)
    rng = np.random.default_rng(3)
    drawn = {(int(q), int(p)): int(g) for q, p, g in rng.integers((0, 0, 0), (QUERIES - 1, ROWS, 4), (200, 3))}
    collection = collection_of(tmp_path / "collection", ROWS, {"dev": QUERIES}, {"dev": drawn})
    encoded = passages_of(tmp_path / "passages", passages)
    parents = {"collection": collection, "passages": encoded, "queries": queries_of(tmp_path / "q", "dev", queries)}
    stage = stage_of(tmp_path / "errors", {"split": "dev", "k": 200, "relevant_grade": relevant_grade}, parents)
    assert count_errors.run(stage, {}, ["cpu"]) == ["errors.parquet"]
    table = pq.read_table(stage.folder / "errors.parquet")
    assert table.schema.names == ["query", "passage", "errors", "top_k"]
    assert [str(kind) for kind in table.schema.types] == ["int32", "int32", "int64", "int64"]

    ranking = ExactSearcher(vectors_of(encoded)).search(torch.from_numpy(queries), ROWS)[0].tolist()
    relevant = sorted(pair for pair, grade in drawn.items() if grade >= relevant_grade)
    expected = []
    for query, passage in relevant:
        before = ranking[query][: ranking[query].index(passage)]
        expected.append(len(before) - sum((query, other) in relevant for other in before))
    rows = table.to_pydict()
    assert list(zip(rows["query"], rows["passage"], strict=True)) == relevant
    assert rows["errors"] == expected
    assert rows["top_k"] == [min(count, 200) for count in expected]
    asked = len({query for query, _ in relevant})
    assert asked < len(relevant)
    assert stage.facts == {
        "k": 200,
        "queries": asked,
        "positives": len(relevant),
        "total_per_query": sum(expected) / asked,
        "top_k_per_query": sum(rows["top_k"]) / asked,
        "total_per_positive": sum(expected) / len(relevant),
        "top_k_per_positive": sum(rows["top_k"]) / len(relevant),
    }


def test_a_split_without_a_relevant_passage(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "collection", 9, {"dev": 2}, {"dev": {(0, 1): 1, (1, 4): 2}})
    with pytest.raises(HardnegError, match=r"grades up to 2(.|\n)*a grade of 3 or more"):
        pairwise_errors({"collection": collection}, {"split": "dev", "relevant_grade": 3, "k": 5}, CPU)


def test_a_vector_that_is_not_finite(tmp_path: Path) -> None:
    passages = normal(ROWS, 1)
    passages[700, 3] = np.nan
    with pytest.raises(HardnegError, match="passage position 700"):
        count_above(store(tmp_path, passages), normal(2, 2), np.array([0, 1]), np.array([700, 3]), CPU)
