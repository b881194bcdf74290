"""Exact search against a full sort in float64, and against itself with the work spread in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hardneg.errors import HardnegError
from hardneg.model.products import product
from hardneg.retrieval.search import exact
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.sizes import gpu_block
from hardneg.retrieval.search.vectors import VectorStore

CPU = torch.device("cpu")
Maker = Callable[..., np.ndarray]
Products = list[tuple[str, torch.Tensor]]
ROWS, DIM = 1000, 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight blocks, the last one of 104 rows, instead of one; each of two tiles, and most tiles of two cells."""
    for name, size in (("BLOCK", 128), ("TILE", 64), ("CELL", 32)):
        monkeypatch.setattr(exact, name, size)


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


def whole_vectors(rows: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers, most below 600: scores are exact in float32, and few passages tie."""
    return (np.random.default_rng(seed).normal(size=(rows, DIM)) * 200).round().astype(dtype)


def tied_vectors(rows: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers of -1 to 1: scores are exact in float32, and nearly all passages tie with many others."""
    return np.random.default_rng(seed).integers(-1, 2, size=(rows, DIM)).astype(dtype)


@pytest.mark.parametrize("make", [whole_vectors, tied_vectors])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("k", [1, 10, 127, 128, 300, 1000, 5000])
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
    passages, queries = make(ROWS, 1), torch.from_numpy(make(600, 2))
    positions, scores = ExactSearcher(store(tmp_path, passages), [CPU]).search(queries, 50)
    for shards in (1, 3, 7):
        for devices in (1, 3, 20):  # 20: more than there are blocks
            for resident in (True, False):
                searcher = ExactSearcher(store(tmp_path, passages, shards), [CPU] * devices, resident)
                for count in (1, 7, 600):
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
    positions = torch.tensor([0, 7, exact.LAST_POSITION, 5, 1, 0, 3])
    keys = exact._pack(scores, positions)
    assert (keys[1:] > keys[:-1]).all()
    assert exact._pack(torch.ones(2), torch.tensor([4, 3])).diff() > 0
    assert exact._pack(torch.tensor([0.0, -0.0]), torch.tensor([4, 4])).diff() == 0
    unpacked = exact._unpack(keys)
    assert torch.equal(unpacked[0], positions) and torch.equal(unpacked[1], scores)


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

    def spy(left: torch.Tensor, right: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        seen.append((switch.fp32_precision, left.clone()))
        return original(left, right, place)

    monkeypatch.setattr(exact, "product", spy)
    yield seen
    torch.set_float32_matmul_precision("highest")
    switch.fp32_precision = before


@pytest.mark.parametrize("newer", [True, False])
def test_products_use_no_tf32_and_the_switch_is_put_back(tmp_path: Path, products: Products, newer: bool) -> None:
    if newer:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    else:
        torch.set_float32_matmul_precision("high")
    ExactSearcher(store(tmp_path, random_vectors(ROWS, 1))).search(torch.from_numpy(random_vectors(4, 2)), 5)
    assert {precision for precision, _ in products} == {"ieee"}
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    if not newer:
        assert torch.get_float32_matmul_precision() == "high"


def test_batches_are_filled_up_with_zeros(tmp_path: Path, products: Products) -> None:
    queries = torch.from_numpy(random_vectors(40, 2))
    ExactSearcher(store(tmp_path, random_vectors(64, 1)), query_batch=32).search(queries, 5)
    (_, first), (_, second) = products
    assert torch.equal(first, queries[:32])
    assert torch.equal(second, torch.cat([queries[32:], torch.zeros(24, DIM)]))


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
    assert 0 <= count * block - rows < max(64 * count, 64)  # little padding
    if rows > 2**22 and batch <= 512:
        assert count % 8 == 0  # as many for each of 2, 4 or 8 GPUs
