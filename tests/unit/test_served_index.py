"""Indexes when they are searched: parameters, devices, and the vectors that they score with."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import RUNTIME, seal, stage_of
from made_index import DIM, PER_FILE, ROWS, built, made_queries, made_vectors, opened

from hardneg.errors import HardnegError
from hardneg.retrieval.search import index as module
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.factory import (
    check_reconstruct,
)
from hardneg.retrieval.search.index import FaissSearcher, ServedVectors, build_index
from hardneg.retrieval.search.retrieve import open_searcher, served_vectors, vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from workflow_scripts import search_dense


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    return made_vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def queries() -> torch.Tensor:
    return made_queries()


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
