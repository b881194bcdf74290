"""Looking ids up, against a dictionary; also where their first hashes collide."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.data import ids as module
from hardneg.data.ids import Ids


def written(folder: Path, texts: list[str]) -> Path:
    pq.write_table(pa.table({"id": pa.array(texts, pa.string())}), folder / "ids.parquet", row_group_size=7)
    return folder / "ids.parquet"


@pytest.fixture(params=["64 bits", "2 bits", "none"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes as they are, or the first ones cut so that most or all ids collide."""
    whole = module._hashes
    mask = np.uint64({"64 bits": 2**64 - 1, "2 bits": 3 << 62, "none": 0}[request.param])

    def cut(texts: pa.Array) -> list[np.ndarray]:
        first, second = whole(texts)
        return [first & mask, second]

    monkeypatch.setattr(module, "_hashes", cut)


@pytest.mark.usefixtures("hashes")
def test_positions_against_a_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)
    known = [f"D{number}" for number in range(97)] + ["é", "e\u0301", "a\0b", "a\0c", " D1"]
    ids = Ids(written(tmp_path, known), "id", tmp_path)
    wanted = [*reversed(known), "d1", "D97", "", "a", "D1", "D1"]
    expected = [known.index(text) if text in known else -1 for text in wanted]
    assert ids.positions(wanted).tolist() == expected
    assert (len(ids), expected.count(-1)) == (102, 4)
    assert ids.positions([]).tolist() == []
    assert len(ids.repeated()) == 0
    places = [101, 3, 3, 0, 96]
    assert ids.take(places).to_pylist() == [known[place] for place in places]
    assert [path.name for path in tmp_path.iterdir()] == ["ids.parquet"]


@pytest.mark.usefixtures("hashes")
def test_repeated_ids_come_by_first_position_with_their_counts(tmp_path: Path) -> None:
    texts = [f"D{number % 40}" for number in range(100)] + [f"E{number}" for number in range(100)]
    texts = np.random.default_rng(0).permutation(texts).tolist()
    counts = {text: count for text, count in Counter(texts).items() if count > 1}
    assert Ids(written(tmp_path, texts), "id", tmp_path).repeated().to_pylist() == [
        {"values": text, "counts": count} for text, count in counts.items()
    ]
    assert set(counts.values()) == {2, 3}


def test_no_ids(tmp_path: Path) -> None:
    ids = Ids(written(tmp_path, []), "id", tmp_path)
    assert (ids.positions(["a"]).tolist(), len(ids.repeated())) == ([-1], 0)
