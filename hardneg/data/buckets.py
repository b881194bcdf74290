"""Rows of numbers on disk, found by a hash, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

BUCKETS = 256
ROWS_AT_ONCE = 16_384

Rows = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


class Buckets:
    """Rows uint64 [n, width] whose first number is a hash. The first 8 bits of the hash choose a row's bucket.

    Memory holds one bucket: a 256th of the rows, and all rows of one hash. The first look sorts them; afterwards no
    rows can be added.

    Args:
        width: numbers in a row.
        folder: where the file is. It has no name, so that nothing is left of it, however the process ends.
    """

    def __init__(self, width: int, folder: Path) -> None:
        self._width, self._folder = width, folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is open as long as this object
        self._waiting = array("Q")
        self._parts: list[Positions] = []  # rows of each bucket, for each part that was written
        self._ends: Positions | None = None  # of each bucket, once the rows are sorted

    def append(self, *row: int) -> None:
        """Add a row."""
        self._waiting.extend(row)
        if len(self._waiting) >= ROWS_AT_ONCE * self._width:
            self._write_waiting()

    def add(self, rows: Rows) -> None:
        """Add rows [n, width]."""
        assert self._ends is None, "rows cannot be added to sorted ones"
        bucket = _bucket(rows[:, 0])
        self._file.write(rows[np.argsort(bucket, kind="stable")].tobytes())
        self._parts.append(np.bincount(bucket, minlength=BUCKETS))

    def __iter__(self) -> Iterator[Rows]:
        """The rows of each bucket, sorted by their first number, then by the next."""
        ends = self._sorted()
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield self._read(start, end)

    def find(self, hashes: Rows) -> tuple[Positions, Rows]:
        """All rows with one of the hashes [m].

        Returns:
            Which of the hashes each row has, int64 [found], and the rows [found, width], in no particular order.
        """
        ends = self._sorted()
        order = np.argsort(hashes)
        bounds = np.searchsorted(_bucket(hashes[order]), np.arange(BUCKETS + 1))
        which, found = [np.zeros(0, np.int64)], [np.zeros((0, self._width), np.uint64)]
        for number in np.flatnonzero(np.diff(bounds)):
            wanted = order[bounds[number] : bounds[number + 1]]
            rows = self._read(ends[number - 1] if number else 0, ends[number])
            low, high = (np.searchsorted(rows[:, 0], hashes[wanted], side=side) for side in ("left", "right"))
            which.append(np.repeat(wanted, high - low))
            found.append(rows[np.repeat(low, high - low) + within(high - low)])
        return np.concatenate(which), np.concatenate(found)

    def _write_waiting(self) -> None:
        self.add(np.frombuffer(self._waiting, np.uint64).reshape(-1, self._width))
        self._waiting = array("Q")

    def _sorted(self) -> Positions:
        """The row after the last of each bucket; the first call sorts the file."""
        if self._ends is not None:
            return self._ends
        self._write_waiting()
        parts = np.array(self._parts)  # [parts, buckets]
        lasts = np.cumsum(parts).reshape(parts.shape)
        ordered = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        for number in range(BUCKETS):
            pieces = zip(lasts[:, number] - parts[:, number], lasts[:, number], strict=True)
            rows = np.concatenate([self._read(start, end) for start, end in pieces])
            ordered.write(rows[np.lexsort(rows.T[::-1])].tobytes())
        self._file.close()
        self._file, self._ends = ordered, np.cumsum(parts.sum(axis=0))
        return self._ends

    def _read(self, start: int, end: int) -> Rows:
        size = 8 * self._width
        self._file.seek(int(start) * size)
        return np.frombuffer(self._file.read(int(end - start) * size), np.uint64).reshape(-1, self._width)


def within(counts: Positions) -> Positions:
    """The number of each element in its group, for groups of these sizes: 0, 1, ... and again from 0."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _bucket(hashes: Rows) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(56)).astype(np.int64)
