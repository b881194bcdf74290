"""Parquet files read part after part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_AT_ONCE = 4096


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file of which parts are read. By default, pyarrow keeps all that was read until the file is closed."""
    return pq.ParquetFile(path, pre_buffer=False)


def batches(path: Path, columns: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE) -> Iterator[pa.RecordBatch]:
    """Stream some columns (None: all) of a file, at most `rows` rows at once. Memory holds a row group of them."""
    with opened(path) as file:
        yield from file.iter_batches(rows, columns=columns)
