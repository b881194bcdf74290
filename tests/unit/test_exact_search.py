"""Exact search against a full sort in float64, and against itself with the work spread in other ways."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardneg.errors import HardnegError
from hardneg.model.products import by_onednn, product
from hardneg.retrieval.search import by_torch, exact, first_pass, keys, on_cpu, on_gpu
from hardneg.retrieval.search.by_torch import inner_products
from hardneg.retrieval.search.cells import lower_bound, top
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.sizes import gpu_block
from hardneg.retrieval.search.vectors import VectorStore

CPU = torch.device("cpu")
Maker = Callable[..., np.ndarray]
Products = list[tuple[str, torch.Tensor]]
ROWS, DIM = 1000, 16
# Triton comes with torch for a GPU. It is told in conftest.py whether to interpret them.
KERNELS = ["by its kernels"] if find_spec("triton") and "TRITON_INTERPRET" in os.environ else []
ON_A_GPU = ("as on a GPU", *KERNELS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight blocks, the last one of 104 rows, instead of one; each of two tiles."""
    sizes = {exact: {"BLOCK": 128}, on_cpu: {"TILE": 64, "TILES": 1}, on_gpu: {"COLUMNS": 32}}
    for room, names in sizes.items():
        for name, size in names.items():
            monkeypatch.setattr(room, name, size)
    monkeypatch.setattr(by_torch, "NUMBERS_AT_ONCE", 5000)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two processes of tests with as many threads as cores each would wait for each other in products this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["one pass", "two passes", *ON_A_GPU], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pass in float32 alone; one in bf16 before it, also where that does not pay; or what a GPU does, on a CPU.

    The kernels of a GPU are interpreted there.
    """
    if request.param == "two passes":
        if not by_onednn():
            pytest.skip("only oneDNN scores again without changing a bit")
        monkeypatch.setattr(on_cpu, "PAYS", 1)
        monkeypatch.setattr(on_cpu, "LEAST_QUERIES", 1)
        monkeypatch.setattr(on_cpu, "LEAST_DIM", 1)
    if request.param in KERNELS:
        kernels = importlib.import_module("hardneg.retrieval.search.by_triton")
        monkeypatch.setattr(on_gpu, "kernels_for", lambda device: kernels)
    if request.param in ON_A_GPU:

        def share(vectors: VectorStore, *given: Any) -> on_gpu.GpuShare:
            return on_gpu.GpuShare(vectors, CPU, *given[:-1])

        monkeypatch.setattr(exact, "CpuShare", share)
    monkeypatch.setattr(on_cpu, "halves_by_onednn", lambda: request.param == "two passes")
    return str(request.param)


def store(folder: Path, passages: np.ndarray, shards: int = 1) -> VectorStore:
    cuts = np.sort(np.random.default_rng(shards).choice(np.arange(1, len(passages)), shards - 1, replace=False))
    paths = [folder / f"{number}-of-{shards}.npy" for number in range(shards)]
    for path, part in zip(paths, np.split(passages, cuts), strict=True):
        np.save(path, part)
    return VectorStore(paths)


def full_sort(queries: np.ndarray, passages: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score in float64, sorted by falling score, then rising position."""
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def random_vectors(rows: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, DIM)).astype(dtype)


def unit_vectors(rows: int, seed: int) -> np.ndarray:
    made = random_vectors(rows, seed)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def equal_vectors(rows: int, seed: int) -> np.ndarray:
    return np.repeat(unit_vectors(1, seed), rows, axis=0)


def whole_vectors(rows: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers, most below 600: scores are exact in float32, and few passages tie."""
    return (np.random.default_rng(seed).normal(size=(rows, DIM)) * 200).round().astype(dtype)


def tied_vectors(rows: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers of -1 to 1: scores are exact in float32, and nearly all passages tie with many others."""
    return np.random.default_rng(seed).integers(-1, 2, size=(rows, DIM)).astype(dtype)


@pytest.mark.parametrize("make", [whole_vectors, tied_vectors])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("k", [1, 10, 50, 127, 128, 300, 1000, 5000])
def test_equals_a_full_sort(tmp_path: Path, make: Maker, dtype: type, k: int) -> None:
    passages, queries = make(ROWS, 1, dtype), make(70, 2)
    positions, scores = ExactSearcher(store(tmp_path, passages, 3), query_batch=32).search(torch.from_numpy(queries), k)

    expected_positions, expected_scores = full_sort(queries, passages, k)
    assert positions.dtype == torch.int64 and scores.dtype == torch.float32
    assert positions.shape == scores.shape == (70, min(k, ROWS))
    assert np.array_equal(positions, expected_positions)
    assert np.array_equal(scores, expected_scores)


@pytest.mark.parametrize("k", [10, 128, 200])
def test_passages_in_rising_order_beat_all_before_them(tmp_path: Path, k: int) -> None:
    passages = np.repeat(np.arange(ROWS, dtype=np.float32)[:, None] // 3, DIM, axis=1)  # each score stands three times
    queries = np.stack([np.ones(DIM), -np.ones(DIM)]).astype(np.float32)
    positions, scores = ExactSearcher(store(tmp_path, passages)).search(torch.from_numpy(queries), k)
    expected_positions, expected_scores = full_sort(queries, passages, k)
    assert np.array_equal(positions, expected_positions)
    assert np.array_equal(scores, expected_scores)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equals_a_full_sort_up_to_rounding(tmp_path: Path, dtype: type) -> None:
    passages, queries = random_vectors(ROWS, 1, dtype), random_vectors(70, 2)
    positions, scores = ExactSearcher(store(tmp_path, passages, 3)).search(torch.from_numpy(queries), 50)

    expected_scores = full_sort(queries, passages, 50)[1]
    score_of_each = queries.astype(np.float64) @ passages.astype(np.float64).T
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(score_of_each, positions.numpy(), axis=1), expected_scores, rtol=1e-5)
    assert all(len(set(row)) == 50 for row in positions.tolist())


def test_the_tied_vectors_do_tie_at_the_cut() -> None:
    _, scores = full_sort(tied_vectors(70, 2), tied_vectors(ROWS, 1), 11)
    assert (scores[:, 9] == scores[:, 10]).sum() > 20


@pytest.mark.parametrize("make", [random_vectors, tied_vectors])
def test_neither_shards_nor_devices_nor_other_queries_change_a_bit(tmp_path: Path, make: Maker) -> None:
    passages, queries = make(ROWS, 1), torch.from_numpy(make(200, 2))
    positions, scores = ExactSearcher(store(tmp_path, passages), [CPU], query_batch=64).search(queries, 50)
    for shards in (1, 3, 7):
        for devices in (1, 3, 20):  # 20: more than there are blocks
            for resident in (True, False):
                searcher = ExactSearcher(store(tmp_path, passages, shards), [CPU] * devices, resident, query_batch=64)
                for count in (1, 7, 200):
                    again, scores_again = searcher.search(queries[:count], 50)
                    assert again.numpy().tobytes() == positions[:count].numpy().tobytes()
                    assert scores_again.numpy().tobytes() == scores[:count].numpy().tobytes()


def test_equal_passages_tie_wherever_they_stand(tmp_path: Path) -> None:
    """Also in a last block of one row, which alone would be another kind of product."""
    passages = np.repeat(random_vectors(1, 1), 129, axis=0)
    positions, scores = ExactSearcher(store(tmp_path, passages)).search(torch.from_numpy(random_vectors(5, 2)), 129)
    assert np.array_equal(positions, np.tile(np.arange(129), (5, 1)))
    assert (scores == scores[:, :1]).all()


def test_keys_order_as_scores_then_positions() -> None:
    scores = torch.tensor([-3.4e38, -2.0, -1e-45, 0.0, 1e-45, 2.0, 3.4e38])
    positions = torch.tensor([0, 7, keys.LAST_POSITION, 5, 1, 0, 3])
    packed = keys.pack(scores, positions)
    assert (packed[1:] > packed[:-1]).all()
    assert keys.pack(torch.ones(2), torch.tensor([4, 3])).diff() > 0
    assert keys.pack(torch.tensor([0.0, -0.0]), torch.tensor([4, 4])).diff() == 0
    unpacked = keys.unpack(packed)
    assert torch.equal(unpacked[0], positions) and torch.equal(unpacked[1], scores)


@pytest.mark.parametrize(("columns", "k"), [(1, 1), (64, 64), (100, 3), (997, 11), (997, 62), (4096, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_greatest_scores_are_found_once_each(columns: int, k: int, dtype: torch.dtype) -> None:
    drawn = torch.randn(9, columns, generator=torch.Generator().manual_seed(columns + k))
    scores = torch.cat([drawn, drawn.round()]).to(dtype)  # the lower half has many that equal
    values, column = top(scores, k)
    np.testing.assert_array_equal(values, -np.sort(-scores.float().numpy(), axis=1)[:, :k])
    np.testing.assert_array_equal(scores.gather(1, column).float(), values)
    assert all(len(row.unique()) == k for row in column)


@pytest.mark.parametrize(("columns", "k"), [(2, 1), (100, 50), (997, 11), (4096, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_k_scores_are_not_below_their_bound_and_few_more(columns: int, k: int, dtype: torch.dtype) -> None:
    scores = torch.randn(50, columns, generator=torch.Generator().manual_seed(columns)).to(dtype)
    above = (scores >= lower_bound([scores[:, columns // 3 :], scores[:, : columns // 3]], k)).sum(dim=1)
    assert (above >= k).all() and above.float().mean() < 2 * k + 1


@pytest.mark.parametrize("k", [5, 50])
def test_scores_that_are_no_numbers_leave_other_queries_and_all_positions_right(
    tmp_path: Path, k: int, way: str
) -> None:
    if way in ON_A_GPU:
        pytest.skip("there, products do not overflow")
    passages, queries = random_vectors(ROWS, 1), random_vectors(8, 2)
    searcher = ExactSearcher(store(tmp_path, passages * np.float32(1e20)))
    expected = searcher.search(torch.from_numpy(queries), k)
    queries[2:5] *= np.float32(1e30)  # products are infinite, and some sums not a number
    positions, scores = searcher.search(torch.from_numpy(queries), k)
    assert not scores[2:5].isfinite().all()
    assert all(len(set(row)) == k and min(row) >= 0 and max(row) < ROWS for row in positions.tolist())
    for found, others in zip((positions, scores), expected, strict=True):
        assert torch.equal(found[[0, 1, 5, 6, 7]], others[[0, 1, 5, 6, 7]])


def test_inside_a_training_step_nothing_is_recorded_or_rounded(tmp_path: Path) -> None:
    queries = torch.from_numpy(random_vectors(40, 2))
    searcher = ExactSearcher(store(tmp_path, random_vectors(ROWS, 1)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = searcher.search(queries.clone().requires_grad_(), 20)[1]
    assert torch.equal(scores, searcher.search(queries, 20)[1]) and not scores.requires_grad


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Iterator[Products]:
    """The precision that CUDA would use and the left side of each matrix product."""
    seen: Products = []
    switch, original = torch.backends.cuda.matmul, product
    before = switch.fp32_precision

    def spy(left: torch.Tensor, right: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
        seen.append((switch.fp32_precision, left.clone()))
        return original(left, right, place)

    monkeypatch.setattr(on_cpu, "product", spy)
    yield seen
    torch.set_float32_matmul_precision("highest")
    switch.fp32_precision = before


@pytest.mark.parametrize("newer", [True, False])
def test_products_use_no_tf32_and_the_switch_is_put_back(
    tmp_path: Path, products: Products, newer: bool, way: str
) -> None:
    if way in ON_A_GPU:
        pytest.skip("the products that are seen are a CPU's")
    if newer:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    else:
        torch.set_float32_matmul_precision("high")
    ExactSearcher(store(tmp_path, random_vectors(ROWS, 1))).search(torch.from_numpy(random_vectors(4, 2)), 5)
    assert {precision for precision, _ in products} == {"ieee"}
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    if not newer:
        assert torch.get_float32_matmul_precision() == "high"


def test_batches_are_filled_up_with_zeros_where_shapes_matter(
    tmp_path: Path, products: Products, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "one pass":
        pytest.skip("shapes matter in it alone")
    monkeypatch.setattr(on_cpu, "by_onednn", lambda: False)
    queries = torch.from_numpy(random_vectors(40, 2))
    ExactSearcher(store(tmp_path, random_vectors(64, 1)), query_batch=32).search(queries, 5)
    (_, first), (_, second) = products
    assert torch.equal(first, queries[:32])
    assert torch.equal(second, torch.cat([queries[32:], torch.zeros(24, DIM)]))


def test_a_single_query_is_searched_alone_but_for_its_double(tmp_path: Path, products: Products, way: str) -> None:
    if way in ON_A_GPU or not by_onednn():
        pytest.skip("only oneDNN's scores do not depend on shapes")
    query = torch.from_numpy(random_vectors(1, 2))
    ExactSearcher(store(tmp_path, random_vectors(64, 1))).search(query, 5)
    assert all(torch.equal(asked, query.repeat(2, 1).to(asked.dtype)) for _, asked in products)


@pytest.mark.parametrize("make", [random_vectors, whole_vectors, tied_vectors])
@pytest.mark.parametrize("k", [1, 30, 300])
def test_a_first_pass_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker, k: int, way: str
) -> None:
    if way != "two passes":
        pytest.skip("two passes are compared with one")
    stored, queries = store(tmp_path, make(ROWS, 1)), torch.from_numpy(make(70, 2))
    found = ExactSearcher(stored, query_batch=32).search(queries, k)
    monkeypatch.setattr(on_cpu, "halves_by_onednn", lambda: False)
    expected = ExactSearcher(stored, query_batch=32).search(queries, k)
    assert all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("make", "unproved"), [(unit_vectors, 0), (equal_vectors, 70)])
def test_queries_without_a_proof_have_another_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker, unproved: int, way: str
) -> None:
    if way == "one pass":
        pytest.skip("nothing is to be proved")
    share = on_cpu.CpuShare if way == "two passes" else on_gpu.GpuShare
    seen, original = [], share._pass

    def spy(self: Any, queries: torch.Tensor, *given: Any) -> Any:
        seen.append(len(queries))
        return original(self, queries, *given)

    monkeypatch.setattr(share, "_pass", spy)
    monkeypatch.setattr(exact, "BLOCK", 1024)
    searcher, queries = ExactSearcher(store(tmp_path, make(ROWS, 1))), torch.from_numpy(make(70, 2))
    monkeypatch.setattr(first_pass.Tally, "ENOUGH", 10)
    monkeypatch.setattr(on_gpu, "MORE", 2)
    searcher.search(queries, 1)
    more = 1 if way == "two passes" else 2  # on a GPU in float32, then over every passage
    assert seen == [70, *([unproved] * more if unproved else [])]
    del seen[:]
    searcher.search(queries, 1)  # without the first pass, if it has proved too little
    assert seen == [70] * (1 if not unproved or way == "two passes" else 3)


@pytest.mark.parametrize("make", [random_vectors, whole_vectors, tied_vectors])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_scores_of_a_gpu_are_those_of_float64_rounded_once(tmp_path: Path, way: str, make: Maker, dtype: type) -> None:
    if way not in ON_A_GPU:
        pytest.skip("a CPU's are sums in float32")
    passages, queries = make(ROWS, 1, dtype), make(70, 2)
    positions, scores = ExactSearcher(store(tmp_path, passages)).search(torch.from_numpy(queries), 30)
    expected_positions, expected = full_sort(queries, passages, 30)
    assert np.array_equal(scores, expected.astype(np.float32))
    assert np.array_equal(positions, expected_positions)


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e15])
@pytest.mark.parametrize("dim", [1, 2, 37, 384, 1025])
def test_inner_products_are_those_of_fractions(scale: float, dim: int) -> None:
    """Against sums of fractions, which are exact; also where large parts cancel out, and of zeros."""
    draw = np.random.default_rng(dim)
    queries, passages = ((draw.normal(size=(n, dim)) * scale).astype(np.float32) for n in (3, 5))
    passages[1] = 0
    queries[1] *= 10 ** draw.uniform(-3, 3, dim).astype(np.float32)
    if dim > 1:
        passages[2, 1], queries[2, :2] = -passages[2, 0], queries[2, 0]
    found = inner_products(torch.from_numpy(queries), torch.from_numpy(passages).expand(3, -1, -1)).double().numpy()
    for query, row in zip(queries.tolist(), found, strict=True):
        for passage, score in zip(passages.tolist(), row, strict=True):
            true = sum(Fraction(one) * Fraction(other) for one, other in zip(query, passage, strict=True))
            length = np.linalg.norm(query) * np.linalg.norm(passage)
            assert abs(score - float(true)) <= 2.0**-24 * abs(float(true)) + dim**2 * 2.0**-59 * length


def test_inner_products_depend_on_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, passages = (torch.randn(n, 384, generator=generator) for n in (8, 300))
    whole = inner_products(queries, passages.expand(8, -1, -1))
    order = torch.randperm(384, generator=generator)
    assert torch.equal(inner_products(queries[:, order], passages[:, order].expand(8, -1, -1)), whole)
    assert torch.equal(inner_products(queries[3:4], passages[7:9].expand(1, -1, -1)), whole[3:4, 7:9])


@pytest.mark.parametrize("dim", [1, 37, 384, 1025])
def test_kernels_compute_what_torch_does(way: str, dim: int) -> None:
    if way not in KERNELS:
        pytest.skip("of the kernels")
    kernels = on_gpu.kernels_for(CPU)
    generator = torch.Generator().manual_seed(dim)
    queries, passages = (torch.randn(n, dim, generator=generator) for n in (5, 192))
    passages *= torch.logspace(-30, 3, len(passages))[:, None]
    passages[7] = 0
    numbers = torch.randint(0, len(passages), (5, 21), generator=generator)
    found = kernels.keys(queries, passages, numbers, 190, 1000)
    assert torch.equal(found, by_torch.keys(queries, passages, numbers, 190, 1000).where(numbers < 190, keys.LOWEST))
    asked, rows = queries.half(), passages.half()
    cells = torch.mm(asked, rows.T).view(5, -1, kernels.CELL).amax(dim=2)
    assert torch.allclose(kernels.highest(asked, rows), cells, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("scale", "other"), [(1.0, 1.0), (1e-4, 1e-4), (1e-7, 1e-7), (1e4, 1e4), (1e6, 1e6), (1.0, 1e-21), (1e12, 1e-38)]
)
@pytest.mark.parametrize("dim", [16, 384, 1024])
def test_products_of_fewer_bits_are_as_near_as_their_bound(
    kind: torch.dtype, scale: float, other: float, dim: int
) -> None:
    """Also of vectors whose parts differ by orders of magnitude, and of those that rounding changes most."""
    if kind == torch.bfloat16 and not by_onednn():
        pytest.skip("oneDNN computes them")
    generator = torch.Generator().manual_seed(dim)
    queries, passages = (torch.randn(64, dim, generator=generator) * each for each in (scale, other))
    queries[:16] *= 10 ** (4 * torch.rand(16, dim, generator=generator))
    for rows, each in ((queries[16:32], scale), (passages[:32], other)):  # half a unit in the last place is lost
        rows.fill_(each * (1 + first_pass.UNIT[kind]))
    asked, given = first_pass.rounded_queries(queries, kind), first_pass.rounded_passages(passages, kind)
    rough = product(asked.rows, given.rows, None) if kind != torch.float16 else torch.mm(asked.rows, given.rows.T)
    true = queries.double() @ passages.double().T
    bound = torch.stack([first_pass.upper_bound(column, asked, *given[1:]) for column in rough.T], dim=1)
    assert (true <= bound).all()
    narrow = first_pass.upper_bound(rough[:, 0] * 0, asked, *given[1:])  # of products that are 0
    widest = 2.5 * first_pass.UNIT[kind] + dim * 2.0**-21
    length = queries.double().norm(dim=1)
    most = length * passages.double().norm(dim=1).max() * widest + (1 + length) * dim * 1e-18
    assert (narrow <= most).all()


def test_there_is_no_bound_where_products_overflow() -> None:
    queries = torch.full((2, 16), 1e18)
    queries[1] = 1.0
    asked = first_pass.rounded_queries(queries, torch.bfloat16)
    bound = first_pass.upper_bound(torch.zeros(2, dtype=torch.bfloat16), asked, torch.tensor(1e15), torch.tensor(1e12))
    assert bound[0] == torch.inf and bound[1] < torch.inf


def test_no_query_gives_no_result(tmp_path: Path) -> None:
    positions, scores = ExactSearcher(store(tmp_path, random_vectors(ROWS, 1))).search(torch.empty(0, DIM), 5)
    assert positions.shape == scores.shape == (0, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shards", [1, 3])
def test_vectors_that_are_not_finite_are_refused_by_position(tmp_path: Path, value: float, shards: int) -> None:
    passages, queries = random_vectors(ROWS, 1), torch.from_numpy(random_vectors(4, 2))
    broken = queries.clone()
    broken[2, 5] = value
    with pytest.raises(HardnegError, match="query position 2"):
        ExactSearcher(store(tmp_path, passages, shards)).search(broken, 5)
    passages[701, 3] = value
    with pytest.raises(HardnegError, match="passage position 701"):
        ExactSearcher(store(tmp_path, passages, shards), resident=False).search(queries, 5)


def test_queries_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="width") as refusal:
        ExactSearcher(store(tmp_path, random_vectors(ROWS, 1))).search(torch.ones(2, 8), 5)
    assert "[2, 8]" in str(refusal.value)


@pytest.mark.parametrize("rows", [1, 1000, 2**20, 2**20 + 1, 8_841_823, 100_000_000])
@pytest.mark.parametrize("batch", [1, 32, 512, 4096, 10**6])
def test_blocks_of_a_gpu_are_alike_and_fit(rows: int, batch: int) -> None:
    block = gpu_block(rows, batch)
    count = -(-rows // block)
    assert block % 64 == 0 and block <= 2**20 and block * batch <= max(2**29, 64 * batch)
    assert 0 <= count * block - rows < 64 * count  # little padding
    if rows > 2**22 and batch <= 512:
        assert count % 8 == 0  # as many for each of 2, 4 or 8 GPUs
