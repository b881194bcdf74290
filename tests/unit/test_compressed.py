"""Compressed indexes: their size, their files, their training, and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from made import RUNTIME, seal, stage_of
from made_index import DIM, PER_FILE, ROWS, built, made_queries, made_vectors, opened

from hardneg.errors import HardnegError
from hardneg.retrieval.search import index as module
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.factory import (
    check_factory,
    check_sample,
    check_search,
    least_training,
    new_index,
)
from hardneg.retrieval.search.index import FaissSearcher, build_index
from hardneg.retrieval.search.vectors import VectorStore
from workflow_scripts import build_index as script


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    return made_vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return made_queries()


# --- memory ---


@pytest.mark.parametrize(("m", "bits"), [(4, 8), (8, 4), (2, 6), (4, 5)])
def test_a_product_quantiser_takes_the_bytes_that_are_computed(
    tmp_path: Path, vectors: VectorStore, m: int, bits: int
) -> None:
    (path,) = built(vectors, f"PQ{m}x{bits}", tmp_path)
    facts = build_index(vectors, f"PQ{m}x{bits}", tmp_path, train_rows=ROWS, seed=0, rows_per_file=ROWS)
    code = math.ceil(m * bits / 8)
    assert facts["code_bytes"] == opened(path).sa_code_size() == code
    assert 0 < path.stat().st_size - ROWS * code - 2**bits * DIM * 4 < 150  # the rest is the header
    assert (facts["centroids"], facts["bytes"]) == (2**bits, path.stat().st_size)


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW4"])
def test_files_are_searched_where_they_lie(tmp_path: Path, factory: str) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(16_000, 256)).astype(np.float32))
    store = VectorStore([tmp_path / "x.npy"])
    paths = built(store, factory, tmp_path / "index", 8_000)
    assert sum(path.stat().st_size for path in paths) > 16_000_000
    before = anonymous_bytes()
    searcher = FaissSearcher(paths, query_batch=8)
    searcher.search(torch.ones(8, 256), 5)
    assert anonymous_bytes() - before < 6_000_000


# --- files ---


@pytest.mark.parametrize("factory", ["Flat", "PQ8x4", "OPQ4,PQ4", "IVF16,Flat", "IVF16,PQ8x4", "SQ8", "PCA8,SQfp16"])
def test_files_change_nothing(tmp_path: Path, vectors: VectorStore, queries: torch.Tensor, factory: str) -> None:
    whole = built(vectors, factory, tmp_path / "whole")
    parts = built(vectors, factory, tmp_path / "parts", PER_FILE)
    assert [path.name for path in parts] == [f"index-000{number}-of-0004" for number in range(4)]
    assert [opened(path).ntotal for path in parts] == [300, 300, 300, 100]
    for nprobe in (None, 5):
        one, many = (FaissSearcher(paths, query_batch=32, nprobe=nprobe) for paths in (whole, parts))
        assert (one.rows, one.dim) == (many.rows, many.dim) == (ROWS, DIM)
        for k in (1, 20, 400):  # the last is more than a file holds
            (positions, scores), (expected_positions, expected) = many.search(queries, k), one.search(queries, k)
            torch.testing.assert_close(scores, expected, rtol=1e-6, atol=0)
            # Passages with the same code tie; which of those at the very end are kept is left open.
            inside = expected > expected[:, -1:]
            assert torch.equal(positions[inside], expected_positions[inside])
            assert k != 20 or inside.sum() > 0.9 * 19 * len(queries)


def test_graphs_find_as_much_in_files(tmp_path: Path, vectors: VectorStore, queries: torch.Tensor) -> None:
    exact, _ = ExactSearcher(vectors).search(queries, 20)
    for rows in (ROWS, PER_FILE):
        paths = built(vectors, "HNSW16", tmp_path / str(rows), rows)
        found, _ = FaissSearcher(paths, ef_search=100).search(queries, 20)
        hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        assert np.mean(hits) > 19


def test_all_files_are_trained_alike(tmp_path: Path, vectors: VectorStore) -> None:
    indexes = [opened(path) for path in built(vectors, "PQ4x4", tmp_path, PER_FILE)]
    first, *others = [faiss.vector_to_array(index.pq.centroids) for index in indexes]
    assert all(np.array_equal(first, other) for other in others)


def test_an_interrupted_build_goes_on(tmp_path: Path, vectors: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [path.read_bytes() for path in built(vectors, "IVF4,PQ4x4", tmp_path / "at once", PER_FILE)]
    block = vectors.block

    def killed(start: int, stop: int) -> np.ndarray:
        if start >= 600:
            raise KeyboardInterrupt
        return block(start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "block", killed)
        with pytest.raises(KeyboardInterrupt):
            built(vectors, "IVF4,PQ4x4", tmp_path / "index", PER_FILE)
    left = sorted((tmp_path / "index").glob("index-*"))
    assert [path.name for path in left] == ["index-0000-of-0004", "index-0001-of-0004"]
    times = [path.stat().st_mtime_ns for path in left]
    with monkeypatch.context() as patch:
        patch.setattr(module, "_train", lambda *given: pytest.fail("trained again"))
        paths = built(vectors, "IVF4,PQ4x4", tmp_path / "index", PER_FILE)
    assert [path.stat().st_mtime_ns for path in left] == times
    assert [path.read_bytes() for path in paths] == expected


def test_a_build_from_the_beginning_keeps_nothing(tmp_path: Path, vectors: VectorStore) -> None:
    paths = built(vectors, "PQ4x4", tmp_path, PER_FILE)
    expected = [path.read_bytes() for path in paths]
    paths[3].write_bytes(b"damaged")
    (tmp_path / "checkpoints" / "trained-index").unlink()  # as a forced run does
    assert [path.read_bytes() for path in built(vectors, "PQ4x4", tmp_path, PER_FILE)] == expected


# --- training ---


@pytest.mark.parametrize(
    ("factory", "least"),
    [
        ("Flat", 0),
        ("SQfp16", 0),
        ("HNSW8", 0),
        ("SQ8", 1),
        ("PQ4", 256),
        ("PQ4x4", 16),
        ("PQ8x4fs", 16),
        ("OPQ4,PQ4x4", 256),
        ("PCA12,SQ8", 12),
        ("IVF20,Flat", 20),
        ("IVF20,PQ4x5", 32),
        ("RR16,IVF40,PQ4x5", 40),
        ("IVF40_HNSW8,Flat", 40),
        ("RQ2x5", 32),
        ("RQ2x3", 16),
        ("PRQ2x2x5", 32),
        ("IVF4,RQ2x6", 64),
        ("PQ4x4,Refine(SQ8)", 16),
    ],
)
def test_the_least_sample_is_what_faiss_takes(vectors: VectorStore, factory: str, least: int) -> None:
    assert least_training(factory, DIM) == least
    sample = vectors.take(np.arange(least))
    if least > 1:
        with pytest.raises(RuntimeError):
            new_index(factory, DIM).train(sample[:-1])
    index = new_index(factory, DIM)
    if least:
        index.train(sample)
    assert index.is_trained


def test_polysemous_training_is_left_out_and_scores_are_the_same(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor
) -> None:
    """It numbers the centroids of each sub-quantiser in another order, and does nothing else."""
    for factory in ("PQ4x4", "OPQ4,PQ4x4", "IVF4,PQ4x4"):
        index: Any = new_index(factory, DIM)
        inner: Any = faiss.downcast_index(index.index) if factory.startswith("OPQ") else index
        assert not inner.do_polysemous_training
    (path,) = built(vectors, "PQ4x4", tmp_path)
    theirs: Any = faiss.index_factory(DIM, "PQ4x4", faiss.METRIC_INNER_PRODUCT)
    assert theirs.do_polysemous_training
    theirs.train(vectors.block(0, ROWS))
    theirs.add(vectors.block(0, ROWS))
    mine = opened(path)
    assert not np.array_equal(faiss.vector_to_array(mine.codes), faiss.vector_to_array(theirs.codes))
    assert np.allclose(mine.reconstruct_n(0, ROWS), theirs.reconstruct_n(0, ROWS), rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("factory", ["PQ4x4", "OPQ4,PQ4x4", "IVF16,PQ4x4", "RQ2x4"])
def test_one_line_says_that_a_sample_is_small(
    tmp_path: Path, vectors: VectorStore, factory: str, capfd: pytest.CaptureFixture[str]
) -> None:
    passages = stage_of(tmp_path / "passages", {})
    np.save(passages.folder / "x.npy", vectors.block(0, ROWS))
    passages.facts = {"shards": ["x.npy"]}
    settings = {"factory": factory, "train_rows": 500, "rows_per_file": PER_FILE}
    stage = stage_of(tmp_path / "index", settings, {"passages": seal(passages, ["x.npy"])})
    stage.facts = {"before": 1}
    index = seal(stage, script.run(stage, RUNTIME, ["cpu"]))
    centroids = 256 if factory.startswith("OPQ") else 16
    assert index.facts["files"] == sorted(index.manifest["files"]) and index.facts["before"] == 1
    told = capfd.readouterr().err
    if centroids * 39 > 500:
        assert told.splitlines() == [
            f"warning: {factory} was trained on 500 vectors, fewer than 39 for each of its {centroids} centroids: "
            "raise train_rows, or choose fewer lists or bits"
        ]
    assert not (index.folder / "checkpoints").exists()


# --- refusals ---


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("HNSW16,PQ4", "Euclidean distances only"),  # FAISS makes it, and forgets which metric was asked for
        ("HNSW16_4+PQ4", "Euclidean distances only"),
        ("OPQ4,HNSW16_PQ4", "Euclidean distances only"),
        ("IDMap,Flat", "block by block"),
        ("NSG16", "block by block"),
        ("PQ5", "multiple of the number of subquantizers"),
    ],
)
def test_a_bad_factory_names_its_key(factory: str, words: str) -> None:
    with pytest.raises(HardnegError, match=words) as refusal:
        check_factory(factory, DIM, "systems.a.index.factory")
    assert "where:    systems.a.index.factory\n" in str(refusal.value)


@pytest.mark.parametrize(
    ("factory", "nprobe", "ef_search", "words"),
    [
        ("IVF16,Flat", 17, None, ["index.nprobe", "17 for IVF16,Flat", "1 to 16"]),
        ("OPQ4,IVF16,PQ4", 20, None, ["index.nprobe", "1 to 16"]),
        ("PQ4", 2, None, ["index.nprobe", "no inverted lists"]),
        ("HNSW16", 2, None, ["index.nprobe", "no inverted lists"]),
        ("IVF16,Flat", 4, 20, ["index.ef_search", "no graph", "HNSW32"]),
        ("Flat", None, 20, ["index.ef_search", "20 for Flat"]),
    ],
)
def test_parameters_that_an_index_has_not_are_refused(
    factory: str, nprobe: int | None, ef_search: int | None, words: list[str]
) -> None:
    with pytest.raises(HardnegError) as refusal:
        check_search(factory, DIM, nprobe, ef_search, "index")
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ("factory", "nprobe", "ef_search"),
    [("Flat", None, None), ("IVF16,Flat", 16, None), ("HNSW8", None, 5), ("RR8,IVF16_HNSW8,PQ4", 3, 9)],
)
def test_parameters_that_an_index_has_pass(factory: str, nprobe: int | None, ef_search: int | None) -> None:
    check_search(factory, DIM, nprobe, ef_search)


@pytest.mark.parametrize(
    ("rows", "train_rows", "words"),
    [
        (1000, 100, ["index.train_rows", "100 vectors for PQ4", "at least 256", "raise train_rows"]),
        (None, 100, ["index.train_rows", "100 vectors for PQ4", "at least 256", "raise train_rows"]),
        (100, 1000, ["index.factory", "100 vectors for PQ4", "at least 256", "choose fewer lists or bits"]),
        (100, 80, ["index.factory", "80 vectors for PQ4", "or Flat"]),
    ],
)
def test_a_small_sample_is_refused_before_it_is_drawn(rows: int | None, train_rows: int, words: list[str]) -> None:
    with pytest.raises(HardnegError) as refusal:
        check_sample("PQ4", DIM, rows, train_rows)
    assert all(word in str(refusal.value) for word in words)
    for factory, enough in (("PQ4", 256), ("Flat", 1)):
        check_sample(factory, DIM, enough, enough)
        check_sample(factory, DIM, None, enough)
