"""Judgements against plain sets and dictionaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import chisquare

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
    assert len(empty.with_positives()) == 0


def test_positives_of_a_query(judged: Judgements, grades: dict[tuple[int, int], int]) -> None:
    for query in range(QUERIES):
        passages, levels = judged.of(query)
        expected = {p: grade for (q, p), grade in sorted(grades.items()) if q == query and grade > 0}
        assert dict(zip(passages.tolist(), levels.tolist(), strict=True)) == expected
        assert passages.tolist() == sorted(expected)
    assert judged.with_positives().tolist() == sorted({q for (q, _), grade in grades.items() if grade > 0})
    assert not {7, 8} & set(judged.with_positives().tolist())


def test_draw_is_uniform_over_a_querys_positives(judged: Judgements) -> None:
    counts = [len(judged.of(query)[0]) for query in range(QUERIES)]
    query = int(np.argmax(counts))
    asked = np.tile(judged.with_positives(), 500)
    drawn = judged.draw(asked, np.random.default_rng(2))
    assert judged.contains(asked, drawn).all()
    seen = np.bincount(drawn[asked == query], minlength=PASSAGES)[judged.of(query)[0]]
    assert counts[query] > 2 and chisquare(seen).pvalue > 1e-3
