"""Exact search against a full sort in float64, and against itself with the work spread in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hardneg.errors import HardnegError
from hardneg.model.products import by_onednn, product
from hardneg.retrieval.search import exact, halves, keys
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
    for room, name, size in ((exact, "BLOCK", 128), (exact, "TILE", 64), (exact, "TILES", 1), (keys, "CELL", 32)):
        monkeypatch.setattr(room, name, size)


@pytest.fixture(params=["one pass", "two passes"], autouse=True)
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pass in float32 alone, or one in bf16 before it, even of few passages and on processors that gain nothing."""
    if request.param == "two passes":
        if not by_onednn():
            pytest.skip("only oneDNN scores again without changing a bit")
        monkeypatch.setattr(halves, "PAYS", 1)
        monkeypatch.setattr(halves, "LEAST_QUERIES", 1)
    monkeypatch.setattr(halves, "halves_by_onednn", lambda: request.param == "two passes")
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


def test_batches_are_filled_up_with_zeros_where_shapes_matter(
    tmp_path: Path, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "by_onednn", lambda: False)
    queries = torch.from_numpy(random_vectors(40, 2))
    ExactSearcher(store(tmp_path, random_vectors(64, 1)), query_batch=32).search(queries, 5)
    (_, first), (_, second) = products
    assert torch.equal(first, queries[:32])
    assert torch.equal(second, torch.cat([queries[32:], torch.zeros(24, DIM)]))


def test_a_single_query_is_searched_alone_but_for_its_double(tmp_path: Path, products: Products) -> None:
    if not by_onednn():
        pytest.skip("only oneDNN's scores do not depend on shapes")
    query = torch.from_numpy(random_vectors(1, 2))
    ExactSearcher(store(tmp_path, random_vectors(64, 1))).search(query, 5)
    assert all(torch.equal(asked, query.repeat(2, 1).to(asked.dtype)) for _, asked in products)


@pytest.mark.parametrize("make", [random_vectors, whole_vectors, tied_vectors])
@pytest.mark.parametrize("k", [1, 30, 300])
def test_a_first_pass_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker, k: int, passes: str
) -> None:
    if passes == "one pass":
        pytest.skip("it is compared with two")
    stored, queries = store(tmp_path, make(ROWS, 1)), torch.from_numpy(make(70, 2))
    found = ExactSearcher(stored, query_batch=32).search(queries, k)
    monkeypatch.setattr(halves, "halves_by_onednn", lambda: False)
    expected = ExactSearcher(stored, query_batch=32).search(queries, k)
    assert all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("make", "unproved"), [(unit_vectors, 0), (equal_vectors, 70)])
def test_queries_without_a_proof_have_a_pass_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker, unproved: int, passes: str
) -> None:
    if passes == "one pass":
        pytest.skip("nothing is to be proved")
    seen, original = [], exact._Share._pass

    def spy(share: exact._Share, queries: torch.Tensor, k: int, rows_of: Callable[[int], torch.Tensor]) -> torch.Tensor:
        seen.append((queries.dtype, len(queries)))
        return original(share, queries, k, rows_of)

    monkeypatch.setattr(exact._Share, "_pass", spy)
    ExactSearcher(store(tmp_path, make(ROWS, 1))).search(torch.from_numpy(make(70, 2)), 1)
    assert seen == [(torch.bfloat16, 70), *([(torch.float32, unproved)] if unproved else [])]


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
@pytest.mark.parametrize("dim", [16, 384, 1024])
def test_products_in_bf16_are_as_near_as_their_bound(scale: float, dim: int) -> None:
    """Also of vectors whose parts differ by orders of magnitude, and of those that rounding changes most."""
    if not by_onednn():
        pytest.skip("oneDNN computes them")
    generator = torch.Generator().manual_seed(dim)
    queries, passages = (torch.randn(64, dim, generator=generator) * scale for _ in range(2))
    queries[:16] *= 10 ** (4 * torch.rand(16, dim, generator=generator))
    for rows in (queries[16:32], passages[:32]):  # one and a half units in the last place of 1: rounding loses a half
        rows.copy_(scale * (1 + 1.5 * 2**-7) * torch.ones_like(rows))
    half = halves.half(passages)
    rough = product(queries.bfloat16(), half.rows, None)
    true = queries.double() @ passages.double().T
    bound = torch.stack([halves.most(column, queries, half.norm, half.error) for column in rough.T], dim=1)
    assert (true <= bound).all()
    narrow = halves.most(rough[:, 0] * 0, queries, half.norm, half.error)  # of products that are 0
    assert (narrow < queries.norm(dim=1) * half.norm * 2**-6).all()  # bf16 has 8 bits


def test_there_is_no_bound_where_products_overflow() -> None:
    queries = torch.full((2, 16), 1e18)
    queries[1] = 1.0
    bound = halves.most(torch.zeros(2), queries, norm=1e15, error=1e12)
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
    assert 0 <= count * block - rows < max(64 * count, 64)  # little padding
    if rows > 2**22 and batch <= 512:
        assert count % 8 == 0  # as many for each of 2, 4 or 8 GPUs
