"""Rows on disk, found by their hash, against a search of all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardneg.data import buckets as module
from hardneg.data.buckets import BUCKETS, Buckets

GENERATOR = np.random.default_rng(0)


def hashes(kind: str, count: int) -> np.ndarray:
    """All different, or few, or all in the first and the last bucket."""
    if kind == "different":
        return GENERATOR.integers(0, 2**64, count, np.uint64, endpoint=False)
    if kind == "few":
        return GENERATOR.choice(GENERATOR.integers(0, 2**64, 40, np.uint64), count)
    return GENERATOR.choice(np.array([0, 1, 2**64 - 1], np.uint64), count)


@pytest.mark.parametrize("kind", ["different", "few", "ends"])
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_rows_are_found_as_a_search_of_all_finds_them(
    kind: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 700)
    rows = np.stack([hashes(kind, count), GENERATOR.integers(0, 9, count, np.uint64)], axis=1)
    kept = Buckets(2, tmp_path)
    for row in rows[: count // 2].tolist():
        kept.append(*row)
    if count:
        kept.add(rows[count // 2 :])
    parts = list(kept)
    assert len(parts) == BUCKETS
    assert np.concatenate(parts).tolist() == sorted(rows.tolist())
    wanted = np.concatenate([rows[::7, 0], rows[:2, 0], np.array([5, 2**63], np.uint64)])
    which, found = kept.find(wanted)
    assert sorted(zip(which.tolist(), map(tuple, found.tolist()), strict=True)) == sorted(
        (number, tuple(row)) for number, one in enumerate(wanted) for row in rows.tolist() if row[0] == one
    )
    assert not list(tmp_path.iterdir())
