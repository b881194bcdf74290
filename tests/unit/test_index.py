"""FAISS indexes: bad factory strings are refused, every vector is indexed, Flat agrees with exact search."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import faiss
import numpy as np
import pytest
import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search import index as module
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.factory import check_factory
from hardneg.retrieval.search.index import FaissSearcher, build_index
from hardneg.retrieval.search.vectors import VectorStore

ROWS, DIM = 1000, 16
ONE = "index-0000-of-0001"


def build(vectors: VectorStore, factory: str, folder: Path, train_rows: int = ROWS, seed: int = 0) -> dict[str, Any]:
    return build_index(vectors, factory, folder, train_rows=train_rows, seed=seed, rows_per_file=ROWS)


@pytest.fixture
def passages() -> np.ndarray:
    """Whole numbers, so that scores are exact in float32 and the order of close ones is nobody's choice."""
    return (np.random.default_rng(1).normal(size=(ROWS, DIM)) * 200).round().astype(np.float32)


@pytest.fixture
def vectors(tmp_path: Path, passages: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> VectorStore:
    monkeypatch.setattr(module, "BLOCK", 128)
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, part in zip(paths, np.array_split(passages, 3), strict=True):
        np.save(path, part)
    return VectorStore(paths)


@pytest.fixture
def queries() -> torch.Tensor:
    return torch.from_numpy((np.random.default_rng(2).normal(size=(70, DIM)) * 200).round().astype(np.float32))


def test_flat_equals_exact_search(tmp_path: Path, vectors: VectorStore, queries: torch.Tensor) -> None:
    facts = build(vectors, "Flat", tmp_path, train_rows=100)
    searcher = FaissSearcher([tmp_path / ONE], query_batch=32)

    assert facts == {
        "factory": "Flat",
        "metric": "inner product",
        "rows": ROWS,
        "dim": DIM,
        "train_rows": 0,
        "centroids": 0,
        "code_bytes": 4 * DIM,
        "files": [ONE],
        "bytes": (tmp_path / ONE).stat().st_size,
    }
    assert (searcher.rows, searcher.dim) == (ROWS, DIM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npy", "1.npy", "2.npy", "checkpoints", ONE]
    for k in (1, 50, 5000):
        positions, scores = searcher.search(queries, k)
        expected_positions, expected_scores = ExactSearcher(vectors).search(queries, k)
        assert torch.equal(positions, expected_positions)
        assert torch.equal(scores, expected_scores)


@pytest.mark.parametrize(
    "factory", ["Flat", "PQ16", "PQ4", "PCA64,PQ16", "SQ8", "SQfp16", "IVF8,PQ16", "HNSW8", "HNSW8_SQ8"]
)
def test_other_queries_change_no_bit(tmp_path: Path, factory: str) -> None:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(ROWS, 128)).astype(np.float32))
    queries = torch.from_numpy(draw.normal(size=(1010, 128)).astype(np.float32))
    build(VectorStore([tmp_path / "x.npy"]), factory, tmp_path)
    searcher = FaissSearcher([tmp_path / ONE], query_batch=1000)
    whole = searcher.search(queries, 20)
    for count in (1, 7, 1001):
        for some, all_ in zip(searcher.search(queries[:count], 20), whole, strict=True):
            assert some.numpy().tobytes() == all_[:count].numpy().tobytes()


@pytest.mark.parametrize(("factory", "asked"), [("PQ16", 7), ("HNSW8", 7), ("SQ8", 7), ("PQ4", 100), ("IVF8,SQ8", 100)])
def test_batches_are_filled_up_only_where_that_can_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str, asked: int
) -> None:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(ROWS, 128)).astype(np.float32))
    build(VectorStore([tmp_path / "x.npy"]), factory, tmp_path)
    searcher = FaissSearcher([tmp_path / ONE], query_batch=100)
    seen, search = [], searcher._files[0].search

    def spy(queries: np.ndarray, k: int) -> Any:
        seen.append(len(queries))
        return search(queries, k)

    monkeypatch.setattr(searcher._files[0], "search", spy)
    searcher.search(torch.from_numpy(draw.normal(size=(7, 128)).astype(np.float32)), 5)
    assert seen == [asked]


def test_ties_come_by_position(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((50, 4), dtype=np.float32))
    build(VectorStore([tmp_path / "x.npy"]), "Flat", tmp_path)
    positions, _ = FaissSearcher([tmp_path / ONE]).search(torch.ones(3, 4), 50)
    assert np.array_equal(positions, np.tile(np.arange(50), (3, 1)))


def test_a_trained_index_keeps_positions_and_repeats(
    tmp_path: Path, vectors: VectorStore, passages: np.ndarray, queries: torch.Tensor
) -> None:
    for name, seed in {"index": 3, "again": 3, "other": 4}.items():
        (tmp_path / name).mkdir()
        facts = build(vectors, "PQ4x4", tmp_path / name, train_rows=800, seed=seed)
        assert facts["train_rows"] == 800
    index, again, other = ((tmp_path / name / ONE).read_bytes() for name in ("index", "again", "other"))
    assert index == again != other

    positions, scores = FaissSearcher([tmp_path / "index" / ONE]).search(queries, 30)
    decoded = faiss.read_index(str(tmp_path / "index" / ONE)).reconstruct_n(0, ROWS)
    assert np.square(decoded - passages).mean() < np.square(passages).mean() / 2  # each row is near its own vector
    table = queries.numpy() @ decoded.T
    np.testing.assert_allclose(scores, np.take_along_axis(table, positions.numpy(), axis=1), rtol=1e-4)
    np.testing.assert_allclose(scores, -np.sort(-table, axis=1)[:, :30], rtol=1e-4)
    assert (np.diff(scores.numpy(), axis=1) <= 0).all()


def test_places_that_an_index_cannot_fill_end_the_row(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor
) -> None:
    build(vectors, "IVF16,Flat", tmp_path)  # one list of 16 is looked at
    positions, scores = FaissSearcher([tmp_path / ONE]).search(queries, ROWS)
    found = positions >= 0
    assert found[:, 0].all() and not found[:, -1].any()
    assert (found[:, 1:] <= found[:, :-1]).all()
    assert torch.isfinite(scores[found]).all() and (scores[~found] == -torch.inf).all()
    for row, mask in zip(positions, found, strict=True):
        assert len(set(row[mask].tolist())) == int(mask.sum())


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "PQ8", "OPQ4,PQ4", "IVF256,Flat", "IVF64,PQ8", "HNSW32"])
def test_good_factory_strings_pass(factory: str) -> None:
    check_factory(factory, DIM)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("Flatt", "could not parse"),
        ("flat", "could not parse"),
        ("", "could not parse"),
        ("PQ5", "multiple of the number of subquantizers"),
        ("OPQ3,PQ3", "multiple of the number of subquantizers"),
        ("IVF64,PQ32", "multiple of the number of subquantizers"),
        ("LSH", "METRIC_L2"),
    ],
)
def test_bad_factory_strings_are_refused_with_examples(factory: str, words: str) -> None:
    with pytest.raises(HardnegError) as refusal:
        check_factory(factory, DIM)
    message = str(refusal.value)
    assert f"'{factory}' for vectors of width 16" in message and words in message
    assert "such as Flat, SQ8, PQ2, OPQ2,PQ2" in message and "1, 2, 4, 8, 16" in message
    assert ".cpp" not in message


def test_the_examples_given_are_good_ones() -> None:
    with pytest.raises(HardnegError) as refusal:
        check_factory("nonsense", 50)
    examples = next(line for line in str(refusal.value).splitlines() if "expected" in line).split("such as ")[1]
    for factory in ["Flat", "SQ8", "PQ5", "OPQ5,PQ5", "IVF256,Flat", "IVF256,PQ5", "HNSW32"]:
        assert factory in examples
        check_factory(factory, 50)


def test_a_training_sample_too_small_is_refused_and_leaves_no_file(tmp_path: Path, vectors: VectorStore) -> None:
    with pytest.raises(HardnegError, match="should be at least as large as number of clusters") as refusal:
        build(vectors, "PQ4", tmp_path, train_rows=100)
    assert "100 of them for training" in str(refusal.value)
    assert not list(tmp_path.rglob("*index*"))


@pytest.mark.parametrize("factory", ["Flat", "PQ4x4"])
def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path, passages: np.ndarray, factory: str) -> None:
    passages[500, 3] = np.nan
    np.save(tmp_path / "x.npy", passages)
    with pytest.raises(HardnegError, match="position 500"):
        build(VectorStore([tmp_path / "x.npy"]), factory, tmp_path)
    assert not (tmp_path / ONE).exists()


def test_a_full_disk_is_told(tmp_path: Path, vectors: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def open_full(path: Path, mode: str) -> IO[Any]:
        return original(Path("/dev/full") if path.suffix == ".tmp" else path, mode)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(HardnegError, match="No space left"):
        build(vectors, "Flat", tmp_path)
    assert not list(tmp_path.rglob("*index*"))


def test_a_broken_or_missing_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"no index at all")
    for name in ("index", "nowhere"):
        with pytest.raises(HardnegError, match="cannot be read"):
            FaissSearcher([tmp_path / name])


def test_an_index_cut_short_is_refused(tmp_path: Path, vectors: VectorStore) -> None:
    build(vectors, "SQ8", tmp_path)
    whole = (tmp_path / ONE).read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / ONE).write_bytes(whole[:size])
        with pytest.raises(HardnegError, match="cannot be read"):
            FaissSearcher([tmp_path / ONE])


def test_queries_of_another_width_are_refused(tmp_path: Path, vectors: VectorStore) -> None:
    build(vectors, "Flat", tmp_path)
    with pytest.raises(HardnegError, match="width"):
        FaissSearcher([tmp_path / ONE]).search(torch.ones(2, 8), 5)
