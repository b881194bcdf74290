"""Compressed indexes: what they cost, that files change nothing, refusals, and the vectors that they score with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import RUNTIME, seal, stage_of

from hardneg.errors import HardnegError
from hardneg.retrieval.search import index as module
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.factory import (
    check_factory,
    check_reconstruct,
    check_sample,
    check_search,
    least_training,
    new_index,
)
from hardneg.retrieval.search.index import FaissSearcher, ServedVectors, build_index
from hardneg.retrieval.search.retrieve import open_searcher, served_vectors, vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from workflow_scripts import build_index as script
from workflow_scripts import search_dense

ROWS, DIM, PER_FILE = 1000, 16, 300


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    """Whole numbers, so that inner products are exact."""
    path = tmp_path_factory.mktemp("vectors") / "x.npy"
    np.save(path, (np.random.default_rng(1).normal(size=(ROWS, DIM)) * 200).round().astype(np.float32))
    return VectorStore([path])


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return torch.from_numpy((np.random.default_rng(2).normal(size=(70, DIM)) * 200).round().astype(np.float32))


def built(vectors: VectorStore, factory: str, folder: Path, rows_per_file: int = ROWS, **changes: Any) -> list[Path]:
    folder.mkdir(exist_ok=True)
    options = {"train_rows": ROWS, "seed": 0, "rows_per_file": rows_per_file, **changes}
    return [folder / name for name in build_index(vectors, factory, folder, **options)["files"]]


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


def opened(path: Path) -> Any:
    return faiss.read_index(str(path))


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


# --- search parameters ---


def test_nprobe_is_set_behind_transforms_in_every_file(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor
) -> None:
    exact, _ = ExactSearcher(vectors).search(queries, 10)
    paths = built(vectors, "RR16,IVF16,Flat", tmp_path, PER_FILE)  # a rotation keeps inner products
    found = []
    for nprobe in (None, 1, 4, 16):
        positions, _ = FaissSearcher(paths, nprobe=nprobe).search(queries, 10)
        found.append(
            float(np.mean([len(set(a) & set(b)) for a, b in zip(positions.tolist(), exact.tolist(), strict=True)]))
        )
    assert found[0] == found[1] < found[2] < found[3] == 10


def test_a_run_is_searched_with_the_parameters_of_its_stage(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor
) -> None:
    exact, _ = ExactSearcher(vectors).search(queries, 10)
    index = stage_of(tmp_path / "index", {"factory": "IVF16,Flat"})
    index.facts = {"files": [path.name for path in built(vectors, "IVF16,Flat", index.folder, PER_FILE)]}
    encoded = stage_of(tmp_path / "queries", {})
    np.save(encoded.folder / "queries.dev.npy", queries.numpy())
    parents = {"index": seal(index, index.facts["files"]), "queries": seal(encoded, ["queries.dev.npy"])}
    found = []
    for nprobe in (None, 16):
        settings = {"splits": ["dev"], "depth": 10, "search": {"nprobe": nprobe, "ef_search": None}}
        stage = stage_of(tmp_path / f"run {nprobe}", settings, parents)
        (name,) = search_dense.run(stage, RUNTIME, ["cpu"])
        found.append(pq.read_table(stage.folder / name)["passage"].to_numpy())
    assert np.array_equal(found[1], exact.numpy().ravel())
    assert not np.array_equal(found[0], found[1])


def test_ef_search_widens_the_search_of_a_graph(tmp_path: Path, vectors: VectorStore, queries: torch.Tensor) -> None:
    exact, _ = ExactSearcher(vectors).search(queries, 1)
    paths = built(vectors, "HNSW4", tmp_path, PER_FILE)
    found = []
    for ef_search in (1, 200):
        positions, _ = FaissSearcher(paths, ef_search=ef_search).search(queries, 1)
        found.append(int((positions == exact).sum()))
    assert found[0] < found[1]


# --- devices ---


class FakeGpus:
    """Copies that are the CPU's own, counted."""

    size, fault, copies = 1 << 40, "", 0

    def __init__(self, numbers: list[int]) -> None:
        assert numbers == [0, 1]

    def free(self) -> int:
        return FakeGpus.size

    def copy(self, index: faiss.Index) -> faiss.Index:
        if FakeGpus.fault:
            raise RuntimeError(f"Error in x at GpuCloner.cpp:1: {FakeGpus.fault}")
        FakeGpus.copies += 1
        return index


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(module, "_Gpus", FakeGpus)
    FakeGpus.size, FakeGpus.fault, FakeGpus.copies = 1 << 40, "", 0
    return [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize(("free", "first", "each"), [(1 << 40, 4, 0), (1000, 1, 4)])
def test_files_stay_on_the_gpus_where_all_fit(
    tmp_path: Path,
    vectors: VectorStore,
    queries: torch.Tensor,
    gpus: list[torch.device],
    free: int,
    first: int,
    each: int,
) -> None:
    paths = built(vectors, "SQ8", tmp_path, PER_FILE)
    FakeGpus.size = free
    searcher = FaissSearcher(paths, gpus)
    assert FakeGpus.copies == first
    expected = FaissSearcher(paths).search(queries, 10)
    for _ in range(2):
        assert all(map(torch.equal, searcher.search(queries, 10), expected))
    assert FakeGpus.copies == first + 2 * each


def test_the_cpu_searches_what_gpus_cannot(
    tmp_path: Path,
    vectors: VectorStore,
    queries: torch.Tensor,
    gpus: list[torch.device],
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = built(vectors, "HNSW8", tmp_path)
    FakeGpus.fault = "This index type is not implemented on GPU."
    found = FaissSearcher(paths, gpus).search(queries, 10)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "the index is searched on the CPU" in told and "not implemented on GPU" in told
    assert all(map(torch.equal, found, FaissSearcher(paths).search(queries, 10)))
    FakeGpus.fault = "cudaMalloc error out of memory [2]"
    with pytest.raises(HardnegError, match="out of memory") as refusal:
        FaissSearcher(paths, gpus)
    assert str(paths[0]) in str(refusal.value)


# --- vectors as they are served ---

DECODED = [
    "Flat",
    "PQ4",
    "PQ8x4",
    "OPQ4,PQ4",
    "OPQ4_8,PQ4x4",
    "PCA8,PQ4",
    "PCAR8,SQ8",
    "RR12,Flat",
    "Pad24,SQ8",
    "IVF16,Flat",
    "IVF16,PQ4",
    "OPQ4,IVF16,PQ4",
    "IVF16,SQ8",
    "IVF16_HNSW8,PQ4",
    "SQ8",
    "SQ4",
    "SQfp16",
    "HNSW32",
    "HNSW32_SQ8",
    "RR8,HNSW16",
    "PQ4x4,RFlat",
    "OPQ4,PQ4x4,RFlat",
    "PQ4x4,Refine(SQ8)",
    "RQ2x5",
    "LSQ2x5",
    "IVF4,RQ2x5",
]


@pytest.mark.parametrize("factory", DECODED)
def test_an_index_scores_with_the_vectors_it_hands_out(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor, factory: str
) -> None:
    check_reconstruct(factory, DIM)
    paths = built(vectors, factory, tmp_path, PER_FILE)
    positions, scores = FaissSearcher(paths, nprobe=4).search(queries, 50)
    served = ServedVectors(paths, factory)
    assert (served.rows, served.dim) == (ROWS, DIM)
    assert {0, 1, 2, 3} == set(np.unique(positions[positions >= 0] // PER_FILE).tolist())
    found = positions >= 0
    taken = torch.from_numpy(served.take(positions.clamp(min=0).ravel())).view(*positions.shape, -1)
    products = torch.einsum("qd,qkd->qk", served.query(queries), taken)
    largest = float(scores[found].abs().max())
    torch.testing.assert_close(products[found], scores[found], rtol=1e-4, atol=1e-6 * largest)
    if factory not in ("Flat", "HNSW32", "PQ4x4,RFlat", "OPQ4,PQ4x4,RFlat", "IVF16,Flat", "SQfp16"):
        exact = np.einsum("qd,qkd->qk", queries, vectors.take(positions.clamp(min=0).ravel()).reshape(70, 50, DIM))
        assert np.abs(products.numpy() - exact)[found].max() > 1e-5 * largest  # they are not what was indexed


def test_positions_are_taken_in_any_order_across_files(tmp_path: Path, vectors: VectorStore) -> None:
    served = ServedVectors(built(vectors, "IVF16,Flat", tmp_path, PER_FILE), "IVF16,Flat")
    wanted = np.random.default_rng(5).integers(0, ROWS, 500)
    assert np.array_equal(served.take(wanted), vectors.take(wanted))
    assert served.take([]).shape == (0, DIM)
    for beyond in (ROWS, -1):
        with pytest.raises(IndexError):
            served.take([0, beyond])


@pytest.mark.parametrize("factory", ["OPQ4_8,PQ4x4", "PCA8,SQ8", "Pad24,SQ8", "PQ4x4"])
def test_gradients_flow_through_the_transforms(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor, factory: str
) -> None:
    (path,) = built(vectors, factory, tmp_path)
    served = ServedVectors([path], factory)
    index = opened(path)
    asked = queries.clone().requires_grad_()
    out = served.query(asked)
    if factory == "PQ4x4":
        assert out is asked
    else:
        applied = faiss.downcast_VectorTransform(index.chain.at(0)).apply(queries.numpy())
        np.testing.assert_allclose(out.detach(), applied, rtol=1e-4, atol=1e-2)
    upstream = torch.from_numpy(served.take(np.arange(70)))
    (out * upstream).sum().backward()  # type: ignore[no-untyped-call]
    assert asked.grad is not None
    # The score is linear in the query: a step along one dimension changes it by that much of the gradient.
    for place in range(DIM):
        moved = queries.clone()
        moved[:, place] += 64
        change = ((served.query(moved) - served.query(queries)) * upstream).sum(dim=1) / 64
        torch.testing.assert_close(change, asked.grad[:, place], rtol=1e-2, atol=1.0)


@pytest.mark.parametrize("factory", ["L2norm,PQ4", "PQ16x4fs", "IVF16,PQ16x4fs", "RaBitQ", "IVF16,FlatDedup"])
def test_what_cannot_hand_out_its_vectors_is_refused(factory: str) -> None:
    with pytest.raises(HardnegError) as refusal:
        check_reconstruct(factory, DIM, "systems.adore.index.factory")
    assert "systems.adore.index.factory" in str(refusal.value) and f"found:    {factory}\n" in str(refusal.value)


def test_a_built_index_that_cannot_is_refused_too(tmp_path: Path, vectors: VectorStore) -> None:
    paths = built(vectors, "L2norm,PQ4x4", tmp_path)
    with pytest.raises(HardnegError, match="L2norm,PQ4x4"):
        ServedVectors(paths, "L2norm,PQ4x4")


@pytest.mark.parametrize("factory", [None, "Flat", "IVF16,PQ4x4"])
def test_training_scores_as_serving_does(
    tmp_path: Path, vectors: VectorStore, queries: torch.Tensor, factory: str | None
) -> None:
    stage = stage_of(tmp_path / "passages", {})
    np.save(stage.folder / "x.npy", vectors.block(0, ROWS))
    stage.facts = {"shards": ["x.npy"]}
    passages, index = seal(stage, ["x.npy"]), None
    if factory is not None:
        stage = stage_of(tmp_path / "index", {"factory": factory, "train_rows": ROWS, "rows_per_file": PER_FILE})
        stage.facts = build_index(
            vectors_of(passages), factory, stage.folder, train_rows=ROWS, seed=0, rows_per_file=PER_FILE
        )
        index = seal(stage, stage.facts["files"])
    searcher = open_searcher(passages, index, [torch.device("cpu")], search={"nprobe": 16, "ef_search": None})
    assert isinstance(searcher, FaissSearcher) == (factory == "IVF16,PQ4x4")
    positions, scores = searcher.search(queries, 30)
    served = served_vectors(passages, index)
    taken = torch.from_numpy(served.take(positions.ravel())).view(70, 30, -1)
    products = torch.einsum("qd,qkd->qk", served.query(queries), taken)
    torch.testing.assert_close(products, scores, rtol=1e-4, atol=1.0)
    best, _ = torch.sort(served.query(queries) @ torch.from_numpy(served.take(np.arange(ROWS))).T, descending=True)
    torch.testing.assert_close(scores, best[:, :30], rtol=1e-4, atol=1.0)
