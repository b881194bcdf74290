"""The positions of ids, for millions of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_AT_ONCE = 100_000
WHITE_SPACE = r"[\pZ\p{Cc}\x{FEFF}]"
"""Characters that ids must not contain, as an RE2 pattern: white space, and the byte order mark, which is one too."""


class Ids:
    """A column of ids with fast look-up.

    Besides the ids, it holds 16 bytes per id: the sorted 64-bit hashes and their positions. A hash only narrows the
    search; the ids themselves are compared, so the result is exact.

    Args:
        path: a Parquet file.
        column: its column of ids. An id's position is its row number.
    """

    def __init__(self, path: Path, column: str) -> None:
        batches = pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=[column])
        # 64-bit offsets: the ids of a large collection may exceed 2 GiB.
        chunks = [batch.column(0).cast(pa.large_string()) for batch in batches]
        self.texts = pa.chunked_array(chunks, pa.large_string()).combine_chunks()
        hashes = np.concatenate([np.zeros(0, np.uint64), *map(_hashes, chunks)])
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self.texts)

    def positions(self, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
        """The position of each id: int64 [n], -1 if the column lacks it. The column's ids must be unique."""
        texts = pa.array(wanted, pa.large_string())
        hashes = _hashes(texts)
        found = np.full(len(texts), -1, np.int64)
        left = np.arange(len(texts))  # not yet found
        at = np.searchsorted(self._hashes, hashes)
        while True:  # one pass, except for ids that share a hash
            left = left[at[left] < len(self._hashes)]
            left = left[self._hashes[at[left]] == hashes[left]]
            if not len(left):
                return found
            candidates = self._order[at[left]]
            same = pc.equal(self.texts.take(pa.array(candidates)), texts.take(pa.array(left))).to_numpy(False)
            found[left[same]] = candidates[same]
            left = left[~same]
            at[left] += 1

    def repeated(self) -> pa.StructArray:
        """The duplicate ids and how often they occur: `values` and `counts`, by first position."""
        alike = self._hashes[1:] == self._hashes[:-1]
        suspects = np.union1d(self._order[1:][alike], self._order[:-1][alike])
        counts = pc.value_counts(self.texts.take(pa.array(suspects)))
        return counts.filter(pc.greater(counts.field("counts"), 1))


def _hashes(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each id (SipHash under a fixed key)."""
    return pd.util.hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
