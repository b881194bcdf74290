"""Judgements against plain sets and dictionaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.data.judgements import Judgements

QUERIES, PASSAGES = 20, 60


@pytest.fixture
def grades() -> dict[tuple[int, int], int]:
    """Grades from -1 to 3; query 7 has none, query 8 no positive."""
    rng = np.random.default_rng(0)
    pairs = {(int(pair) // PASSAGES, int(pair) % PASSAGES) for pair in rng.integers(QUERIES * PASSAGES, size=150)}
    return {pair: 0 if pair[0] == 8 else int(rng.integers(-1, 4)) for pair in sorted(pairs) if pair[0] != 7}


@pytest.fixture
def judged(grades: dict[tuple[int, int], int], tmp_path: Path) -> Judgements:
    rows = np.array([(q, p, grade) for (q, p), grade in grades.items()], np.int32)
    rows = np.random.default_rng(1).permutation(rows)
    table = pa.table(dict(zip(("query", "passage", "grade"), rows.T, strict=True)))
    pq.write_table(table, tmp_path / "qrels.parquet")
    return Judgements.read(tmp_path / "qrels.parquet", QUERIES, PASSAGES)


def test_contains(judged: Judgements, grades: dict[tuple[int, int], int]) -> None:
    everything = judged.contains(np.arange(QUERIES)[:, None], np.arange(PASSAGES)[None, :])
    assert everything.shape == (QUERIES, PASSAGES)
    assert {(int(q), int(p)) for q, p in np.argwhere(everything)} == {pair for pair, g in grades.items() if g > 0}
    assert not all(grade > 0 for grade in grades.values())


def test_nothing_is_contained_without_judgements() -> None:
    none = np.zeros(0, np.int64)
    empty = Judgements(none, none, none, QUERIES, PASSAGES)
    assert not empty.contains(np.arange(QUERIES), np.arange(QUERIES)).any()
    assert not empty.grades_of(np.arange(QUERIES), np.arange(QUERIES)).any()
    assert len(empty.with_positives()) == 0
    assert empty.table(np.arange(QUERIES))[0].shape == (QUERIES, 0)


def test_positives_of_a_query(judged: Judgements, grades: dict[tuple[int, int], int]) -> None:
    for query in range(QUERIES):
        passages, levels = judged.of(query)
        expected = {p: grade for (q, p), grade in sorted(grades.items()) if q == query and grade > 0}
        assert dict(zip(passages.tolist(), levels.tolist(), strict=True)) == expected
        assert passages.tolist() == sorted(expected)
    assert judged.with_positives().tolist() == sorted({q for (q, _), grade in grades.items() if grade > 0})
    assert not {7, 8} & set(judged.with_positives().tolist())


def test_grades_of_pairs(judged: Judgements, grades: dict[tuple[int, int], int]) -> None:
    """0 where a passage is not judged relevant."""
    everything = judged.grades_of(np.arange(QUERIES)[:, None], np.arange(PASSAGES)[None, :])
    expected = np.zeros((QUERIES, PASSAGES), np.int64)
    for pair, grade in grades.items():
        expected[pair] = max(grade, 0)
    assert everything.dtype == np.int64 and np.array_equal(everything, expected)
    assert set(expected.ravel().tolist()) == {0, 1, 2, 3}


def test_a_table_of_positives(judged: Judgements, grades: dict[tuple[int, int], int]) -> None:
    """In the order of the queries asked, one of them twice and two without a positive."""
    asked = np.array([8, 3, 19, 7, 0, 3])
    passages, levels = judged.table(asked)
    longest = 0
    for query, row, own in zip(asked.tolist(), passages.tolist(), levels.tolist(), strict=True):
        expected = {p: grade for (q, p), grade in sorted(grades.items()) if q == query and grade > 0}
        rest = len(row) - len(expected)
        assert row == [*expected, *[-1] * rest] and own == [*expected.values(), *[0] * rest]
        longest = max(longest, len(expected))
    assert passages.shape == levels.shape == (6, longest) and longest > 1


def test_a_table_of_queries_without_a_positive(judged: Judgements) -> None:
    passages, levels = judged.table(np.array([7, 8]))
    assert passages.shape == levels.shape == (2, 0)
