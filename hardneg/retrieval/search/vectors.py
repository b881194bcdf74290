"""Vectors on disk: an ordered list of `.npy` shards that reads as one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hardneg.data.mapped import forget
from hardneg.errors import HardnegError

ENCODE_AGAIN = "delete that stage's folder and encode again."
TAKEN_AT_ONCE = 32
"""Rows of a sample. Of each, the system maps up to a megabyte around it."""
STORED_DTYPES = (np.dtype(np.float16), np.dtype(np.float32))


class VectorStore:
    """A read-only view over `.npy` shards as one matrix [rows, dim]. Rows are read from disk on demand.

    Args:
        paths: the shards, each [rows of the shard, dim] float16 or float32, in the order of their rows.
        remedy: the remedy in messages about a missing or broken shard.

    Attributes:
        rows: vectors in all shards together.
        dim: their width.
        dtype: the dtype on disk; every method returns float32.

    Raises:
        HardnegError: a shard is missing, unreadable or not such a matrix; shards differ in width or dtype; or there
            are no vectors.
    """

    def __init__(self, paths: Sequence[Path], remedy: str = ENCODE_AGAIN) -> None:
        self._shards = [_open_shard(Path(path), remedy) for path in paths]
        if not any(len(shard) for shard in self._shards):
            raise HardnegError("There are no vectors: all shards are empty.", found=f"{len(paths)} shards")
        first = self._shards[0]
        self.dim: int = first.shape[1]
        self.dtype: np.dtype[np.floating] = first.dtype
        for path, shard in zip(paths, self._shards, strict=True):
            if (shard.shape[1], shard.dtype) != (self.dim, self.dtype):
                raise HardnegError(
                    "Shards of one set of vectors differ in width or dtype.",
                    where=str(path),
                    found=f"{shard.shape[1]} x {shard.dtype}",
                    expected=f"{self.dim} x {self.dtype}, as in {paths[0]}",
                    remedy="encode all shards with the same encoder and the same settings.",
                )
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])
        self.rows = int(self._starts[-1])

    def __len__(self) -> int:
        return self.rows

    def block(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows `start` to `stop` (exclusive) as a new float32 array [stop - start, dim]; they may cross shards.

        Shards that it read take no memory afterwards.

        Raises:
            IndexError: the range goes beyond the rows.
        """
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start} to {stop} of {self.rows}")
        out = np.empty((stop - start, self.dim), dtype=np.float32)
        for first, shard in zip(self._starts[:-1], self._shards, strict=True):
            low, high = max(start, first), min(stop, first + len(shard))
            if low < high:
                out[low - start : high - start] = shard[low - first : high - first]
                forget(shard)
        return out

    def mapped(self, start: int, stop: int) -> npt.NDArray[np.float32] | None:
        """The same rows, memory-mapped read-only without a copy, if they are float32 and in one shard; else None."""
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        first, shard = self._starts[number], self._shards[number]
        if self.dtype != np.float32 or stop > self._starts[number + 1] or not shard.flags.c_contiguous:
            return None
        return shard[start - first : stop - first]

    def forget(self) -> None:
        """Give back the memory of all rows that were read. What is mapped stays valid, and is read again when used."""
        for shard in self._shards:
            forget(shard)

    def take(self, positions: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The rows at `positions` ([n] integers, in any order, repeats allowed) as a new float32 array [n, dim].

        Raises:
            IndexError: a position is negative or beyond the last row.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise IndexError(f"positions {wanted.min()} to {wanted.max()} of {self.rows} rows")
        out = np.empty((len(wanted), self.dim), dtype=np.float32)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            out[mine] = self._shards[number][wanted[mine] - self._starts[number]]
        return out

    def take_once(self, positions: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """The same, for rows that are not needed again soon: shards take no memory afterwards."""
        out = np.empty((len(positions), self.dim), dtype=np.float32)
        for start in range(0, len(positions), TAKEN_AT_ONCE):
            part = slice(start, start + TAKEN_AT_ONCE)
            out[part] = self.take(positions[part])
            self.forget()
        return out


def _open_shard(path: Path, remedy: str) -> np.memmap:
    try:
        shard = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise HardnegError("A shard of vectors is missing.", where=str(path), remedy=remedy) from None
    except (ValueError, OSError) as fault:
        raise HardnegError("A shard of vectors is broken.", where=str(path), found=str(fault), remedy=remedy) from None
    if shard.ndim != 2 or shard.dtype not in STORED_DTYPES:
        raise HardnegError(
            "A file is not a shard of vectors.",
            where=str(path),
            found=f"shape {shard.shape}, {shard.dtype}",
            expected="[rows, dim] of float16 or float32",
            remedy=remedy,
        )
    return shard
