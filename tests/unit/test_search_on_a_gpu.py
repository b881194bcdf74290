"""Exact search on a real GPU, against the same on a CPU, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search import by_torch, exact, keys, on_gpu
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.vectors import VectorStore

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
ROWS = 20_000


def store(folder: Path, dim: int, scale: float, rows: int = ROWS) -> VectorStore:
    made = np.random.default_rng(dim).standard_normal((rows, dim)).astype(np.float32) * np.float32(scale)
    made[rows // 2 :: 7] = made[: len(made[rows // 2 :: 7])]  # copies, which tie
    np.save(folder / "passages.npy", made)
    return VectorStore([folder / "passages.npy"])


@pytest.mark.parametrize(("dim", "scale"), [(37, 1.0), (384, 1e-3), (768, 100.0)])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("count", [1, 8, 33, 70])
def test_it_finds_what_a_cpu_finds_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dim: int, scale: float, resident: bool, count: int
) -> None:
    stored = store(tmp_path, dim, scale)
    searcher = ExactSearcher(stored, [GPU], resident=resident, query_batch=64)
    monkeypatch.setattr(exact, "CpuShare", lambda vectors, *given: on_gpu.GpuShare(vectors, CPU, *given[:-1]))
    other = ExactSearcher(stored, [CPU], query_batch=64)
    for turn in range(4):  # the third search of as many queries is replayed, where they are few
        queries = torch.randn(count, dim, generator=torch.Generator().manual_seed(turn))
        queries[0] = torch.from_numpy(stored.block(3, 4))[0]
        found, expected = searcher.search(queries.to(GPU), 60), other.search(queries, 60)
        assert all(torch.equal(one.cpu(), two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("rows", [50, ROWS])
def test_queries_that_are_not_finite_are_refused_at_any_time(tmp_path: Path, rows: int) -> None:
    searcher = ExactSearcher(store(tmp_path, 48, 1.0, rows), [GPU], resident=True, query_batch=64)
    queries = torch.randn(8, 48, generator=torch.Generator().manual_seed(0)).to(GPU)
    worse = queries.clone()
    worse[5, 7], worse[6, 7] = torch.nan, torch.inf
    first = searcher.search(queries, 20)
    for _ in range(3):
        with pytest.raises(HardnegError, match="query"):
            searcher.search(worse, 20)
        assert all(torch.equal(one, two) for one, two in zip(searcher.search(queries, 20), first, strict=True))


def test_a_searcher_is_asked_for_few_and_then_for_nearly_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = store(tmp_path, 16, 1.0, 2000)
    searcher = ExactSearcher(stored, [GPU], resident=True, query_batch=64)
    monkeypatch.setattr(exact, "CpuShare", lambda vectors, *given: on_gpu.GpuShare(vectors, CPU, *given[:-1]))
    other = ExactSearcher(stored, [CPU], query_batch=64)
    queries = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    for k in (10, 10, 10, 1600, 1600, 1600, 5000, 5000, 10, 10):
        found, expected = searcher.search(queries.to(GPU), k), other.search(queries, k)
        assert all(torch.equal(one.cpu(), two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("dim", [1, 37, 384, 1025])
def test_kernels_compute_what_torch_does(dim: int) -> None:
    kernels = on_gpu.kernels_for(GPU)
    if kernels is by_torch:
        pytest.skip("Triton cannot compile for this GPU")
    generator = torch.Generator().manual_seed(dim)
    queries, passages = (torch.randn(n, dim, generator=generator) for n in (40, 1024))
    passages *= torch.logspace(-30, 3, len(passages))[:, None]
    passages[7] = 0
    numbers = torch.randint(0, len(passages), (40, 210), generator=generator)
    found = kernels.keys(queries.to(GPU), passages.to(GPU), numbers.to(GPU), 1000, 1000).cpu()
    assert torch.equal(found, by_torch.keys(queries, passages, numbers, 1000, 1000).where(numbers < 1000, keys.LOWEST))
    asked, rows = queries.half().to(GPU), torch.randn(1024, dim, generator=generator).half().to(GPU)
    for few in (asked[:5], asked):
        cells = (few.float() @ rows.float().T).view(len(few), -1, kernels.CELL).amax(dim=2)
        assert torch.allclose(kernels.highest(few, rows).float(), cells, rtol=2e-3, atol=1e-4)
