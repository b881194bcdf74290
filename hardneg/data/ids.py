"""The positions of ids, for millions of ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hardneg.data.buckets import Buckets
from hardneg.data.parquet import batches

ROWS_AT_ONCE = 16_384
WHITE_SPACE = r"[\pZ\p{Cc}\x{FEFF}]"
"""Characters that ids must not contain, as an RE2 pattern: white space, and the byte order mark, which is one too."""

KEYS = ("hardneg, 1st key", "hardneg, 2nd key")


class Ids:
    """A column of ids with fast look-up. Memory does not grow with the column.

    An id is known by 128 bits of hashes, which are on disk: 24 bytes for each id. Among a billion ids two different
    ones share them with a probability of 1e-21.

    Args:
        path: a Parquet file.
        column: its column of ids. An id's position is its row number.
        scratch: a folder for files without a name.
    """

    def __init__(self, path: Path, column: str, scratch: Path) -> None:
        self._path, self._column = path, column
        self._rows, self._count = Buckets(3, scratch), 0
        for texts in self:
            positions = np.arange(self._count, self._count + len(texts), dtype=np.uint64)
            self._rows.add(np.stack([*_hashes(texts), positions], axis=1))
            self._count += len(texts)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[pa.Array]:
        """The ids, many at once, in order."""
        for batch in batches(self._path, [self._column], ROWS_AT_ONCE):
            yield batch.column(0)

    def positions(self, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
        """The position of each id: int64 [n], -1 if the column lacks it. The column's ids must be unique."""
        first, second = _hashes(pa.array(wanted, pa.large_string()))
        which, rows = self._rows.find(first)
        same = rows[:, 1] == second[which]
        found = np.full(len(first), -1, np.int64)
        found[which[same]] = rows[same, 2]
        return found

    def take(self, positions: npt.ArrayLike) -> pa.Array:
        """The ids at `positions` ([n] integers, in any order, repeats allowed). The column is read once."""
        wanted, place = np.unique(np.asarray(positions, np.int64), return_inverse=True)
        found, first = [pa.array([], pa.large_string())], 0
        for texts in self:
            low, high = np.searchsorted(wanted, [first, first + len(texts)])
            found.append(texts.take(pa.array(wanted[low:high] - first)).cast(pa.large_string()))
            first += len(texts)
        return pa.concat_arrays(found).take(pa.array(place))

    def repeated(self) -> pa.StructArray:
        """The duplicate ids and how often they occur: `values` and `counts`, by first position."""
        suspects = [np.zeros(0, np.uint64)]
        for rows in self._rows:
            alike = (rows[1:, :2] == rows[:-1, :2]).all(axis=1)
            suspects += [rows[1:, 2][alike], rows[:-1, 2][alike]]
        return pc.value_counts(self.take(np.unique(np.concatenate(suspects))))


def _hashes(ids: pa.Array) -> list[npt.NDArray[np.uint64]]:
    """Two independent 64-bit hashes of each id (SipHash under fixed keys)."""
    texts = ids.to_numpy(zero_copy_only=False)
    return [pd.util.hash_array(texts, hash_key=key, categorize=False) for key in KEYS]
