"""The index that is handed to Pyserini: what FAISS would write, joined from files, searched as the run was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from made import seal, stage_of, texts, write_collection

from hardneg.export import vectors as module
from hardneg.export.vectors import write_pyserini
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact

ROWS, DIM = 600, 16
NONE = {"nprobe": None, "ef_search": None}
DRAW = np.random.default_rng(1)
PASSAGES = DRAW.normal(size=(ROWS, DIM)).astype(np.float32)
QUERIES = DRAW.normal(size=(20, DIM)).astype(np.float32)


@pytest.fixture
def collection(tmp_path: Path) -> Artifact:
    return write_collection(tmp_path / "collection", texts(ROWS, [3], 1), texts(12, [2], 2))


def passages(folder: Path, dtype: type = np.float32) -> Artifact:
    """In three shards of different size."""
    stage, names = stage_of(folder, {}), [f"{number}.npy" for number in range(3)]
    for name, part in zip(names, np.split(PASSAGES, [130, 390]), strict=True):
        np.save(stage.folder / name, part.astype(dtype))
    stage.facts = {"shards": names, "rows": ROWS, "dim": DIM}
    return seal(stage, names)


def index_of(folder: Path, factory: str, cuts: list[int]) -> tuple[Artifact, Any]:
    """An index in files over consecutive rows, and the same in one."""
    stage = stage_of(folder, {"factory": factory})
    empty = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    empty.train(PASSAGES)
    names = []
    for number, part in enumerate(np.split(PASSAGES, cuts)):
        index = faiss.clone_index(empty)
        index.add(part)
        names.append(f"index-{number:04d}-of-{len(cuts) + 1:04d}")
        faiss.write_index(index, str(stage.folder / names[-1]))
    empty.add(PASSAGES)
    stage.facts = {"files": names}
    return seal(stage, names), empty


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_flat_index_is_the_file_that_faiss_writes(
    tmp_path: Path, collection: Artifact, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)
    given = passages(tmp_path / "passages", dtype)
    assert write_pyserini(tmp_path / "out", collection, given, None, NONE)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(PASSAGES.astype(dtype).astype(np.float32))
    faiss.write_index(flat, str(tmp_path / "theirs"))
    assert (tmp_path / "out/index").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert (tmp_path / "out/docid").read_text().splitlines() == [str(number) for number in range(ROWS)]

    index, _ = index_of(tmp_path / "flat", "Flat", [300])
    assert write_pyserini(tmp_path / "again", collection, given, index, NONE)
    assert (tmp_path / "again/index").read_bytes() == (tmp_path / "out/index").read_bytes()


@pytest.mark.parametrize(
    "factory",
    ["PQ4x4", "SQ8", "OPQ4,PQ4x4", "PCA8,Flat", "IVF8,Flat", "IVF8,PQ4x4", "OPQ4,IVF8,PQ4x4", "IVF8,SQ8", "PQ4x4fs"],
)
@pytest.mark.parametrize("cuts", [[], [250], [100, 450]])
def test_files_are_joined(tmp_path: Path, collection: Artifact, factory: str, cuts: list[int]) -> None:
    index, whole = index_of(tmp_path / "index", factory, cuts)
    assert write_pyserini(tmp_path / "out", collection, passages(tmp_path / "passages"), index, NONE)
    joined = faiss.read_index(str(tmp_path / "out/index"))
    assert joined.ntotal == ROWS
    scores, found = whole.search(QUERIES, 30)
    again, positions = joined.search(QUERIES, 30)
    np.testing.assert_allclose(again, scores, rtol=1e-5)
    assert len(set(found.ravel().tolist())) > 100 and (positions == found).mean() > 0.99  # but for ties of codes


@pytest.mark.parametrize(
    ("factory", "cuts", "search"),
    [
        ("IVF8,Flat", [250], {"nprobe": 5, "ef_search": None}),
        ("OPQ4,IVF8,PQ4x4", [], {"nprobe": 5, "ef_search": None}),
        ("HNSW8", [], {"nprobe": None, "ef_search": 70}),
    ],
)
def test_it_is_searched_as_the_run_was(
    tmp_path: Path, collection: Artifact, factory: str, cuts: list[int], search: dict[str, int | None]
) -> None:
    index, _ = index_of(tmp_path / "index", factory, cuts)
    assert write_pyserini(tmp_path / "out", collection, passages(tmp_path / "passages"), index, search)
    joined: Any = faiss.read_index(str(tmp_path / "out/index"))
    ivf = faiss.try_extract_index_ivf(joined)
    assert (ivf.nprobe if ivf else joined.hnsw.efSearch) == (search["nprobe"] or search["ef_search"])


def test_files_that_cannot_be_joined_leave_no_folder(tmp_path: Path, collection: Artifact) -> None:
    index, _ = index_of(tmp_path / "index", "HNSW8", [250])
    assert not write_pyserini(tmp_path / "out", collection, passages(tmp_path / "passages"), index, NONE)
    assert not (tmp_path / "out").exists()


def test_rows_may_pass_four_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of the header are as wide as FAISS has them."""

    class Many(VectorStore):
        def __init__(self) -> None:
            self.rows, self.dim = 3_000_000_000, DIM

        def block(self, start: int, stop: int) -> np.ndarray:
            return np.zeros((0, DIM), np.float32)

    monkeypatch.setattr(module, "BLOCK", 3_000_000_000)
    module.write_flat(Many(), tmp_path / "index")
    header = (tmp_path / "index").read_bytes()
    assert int.from_bytes(header[8:16], "little") == 3_000_000_000
    assert int.from_bytes(header[-8:], "little") == 48_000_000_000
