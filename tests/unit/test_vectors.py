"""Vector shards read as one matrix: the same rows as the concatenated arrays, wherever the shards are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardneg.errors import HardnegError
from hardneg.retrieval.search.vectors import VectorStore


def write(folder: Path, whole: np.ndarray, cuts: list[int]) -> list[Path]:
    parts = np.split(whole, cuts)
    paths = [folder / f"passages-{number:04}-of-{len(parts):04}.npy" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part)
    return paths


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("cuts", [[], [40], [1, 1, 30, 99]])
def test_rows_are_those_of_the_whole_matrix(tmp_path: Path, dtype: type, cuts: list[int]) -> None:
    whole: np.ndarray = np.random.default_rng(0).normal(size=(100, 6)).astype(dtype)
    store = VectorStore(write(tmp_path, whole, cuts))  # [1, 1, ...] makes an empty shard in the middle

    assert (len(store), store.rows, store.dim, store.dtype) == (100, 100, 6, np.dtype(dtype))
    for start, stop in [(0, 100), (0, 0), (29, 31), (0, 1), (39, 100), (100, 100)]:
        block = store.block(start, stop)
        assert block.dtype == np.float32
        assert np.array_equal(block, whole[start:stop].astype(np.float32))
    positions = np.array([99, 0, 30, 30, 1, 29, 98])
    assert np.array_equal(store.take(positions), whole[positions].astype(np.float32))
    assert store.take([]).shape == (0, 6)


def test_a_block_is_a_copy_and_the_files_stay_as_they_are(tmp_path: Path) -> None:
    whole = np.ones((10, 4), dtype=np.float32)
    paths = write(tmp_path, whole, [5])
    store = VectorStore(paths)
    store.block(0, 10)[:] = 7
    assert np.array_equal(store.block(0, 10), whole)
    assert np.array_equal(np.load(paths[0]), whole[:5])


def test_rows_are_mapped_only_where_they_lie_together_as_float32(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    store = VectorStore(write(tmp_path, whole, [5]))
    mapped = store.mapped(5, 9)
    assert mapped is not None and np.array_equal(mapped, whole[5:9]) and not mapped.flags.writeable
    assert store.mapped(4, 6) is None
    assert VectorStore(write(tmp_path, whole.astype(np.float16), [5])).mapped(5, 9) is None


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (0, 11), (4, 3)])
def test_blocks_outside_the_matrix_are_refused(tmp_path: Path, start: int, stop: int) -> None:
    store = VectorStore(write(tmp_path, np.ones((10, 4), dtype=np.float32), []))
    with pytest.raises(IndexError):
        store.block(start, stop)


@pytest.mark.parametrize("position", [-1, 10])
def test_positions_outside_the_matrix_are_refused(tmp_path: Path, position: int) -> None:
    store = VectorStore(write(tmp_path, np.ones((10, 4), dtype=np.float32), []))
    with pytest.raises(IndexError):
        store.take([0, position])


@pytest.mark.parametrize("second", [np.ones((3, 5), dtype=np.float32), np.ones((3, 4), dtype=np.float16)])
def test_shards_that_disagree_are_refused_by_name(tmp_path: Path, second: np.ndarray) -> None:
    paths = write(tmp_path, np.ones((10, 4), dtype=np.float32), [5])
    np.save(paths[1], second)
    with pytest.raises(HardnegError, match="differ in width or dtype") as refusal:
        VectorStore(paths)
    assert str(paths[1]) in str(refusal.value)


@pytest.mark.parametrize("wrong", [np.ones(4, dtype=np.float32), np.ones((3, 4)), np.ones((3, 4), dtype=np.int32)])
def test_other_arrays_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", wrong)
    with pytest.raises(HardnegError, match="not a shard of vectors"):
        VectorStore([tmp_path / "x.npy"])


def test_missing_broken_and_empty_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="missing"):
        VectorStore([tmp_path / "nowhere.npy"])
    (path,) = write(tmp_path, np.ones((100, 4), dtype=np.float32), [])
    for content in (path.read_bytes()[:-1], b"", b"no array"):
        path.write_bytes(content)
        with pytest.raises(HardnegError, match="is broken"):
            VectorStore([path])
    np.save(path, np.ones((0, 4), dtype=np.float32))
    for paths in ([], [path]):
        with pytest.raises(HardnegError, match="no vectors"):
            VectorStore(paths)


def test_what_was_read_takes_no_memory(tmp_path: Path) -> None:
    whole = np.ones((60_000, 128), np.float32)  # 30 MB
    store = VectorStore(write(tmp_path, whole, [20_000]))

    def mapped() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssFile:")[2].split()[0]) * 1024

    before = mapped()
    spread = np.arange(0, 60_000, 60)
    assert (store.take_once(spread) == whole[spread]).all()
    assert mapped() - before < whole.nbytes // 10
    for start in range(0, 60_000, 10_000):
        assert (store.block(start, start + 10_000) == 1).all()
        assert mapped() - before < whole.nbytes // 10
    kept = store.mapped(20_000, 60_000)
    assert kept is not None and kept.sum() == kept.size
    assert mapped() - before > whole.nbytes // 2
    store.forget()
    assert mapped() - before < whole.nbytes // 10
    assert (kept == 1).all()
