"""Reading Parquet files part after part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.parquet import batches, opened

GROUPS, ROWS, BYTES = 80, 100, 2000


def written(folder: Path) -> Path:
    """A file of row groups of 200 kB each, which no codec makes smaller."""
    texts = np.random.default_rng(0).bytes(GROUPS * ROWS * BYTES)
    column = pa.array([texts[start : start + BYTES] for start in range(0, len(texts), BYTES)])
    pq.write_table(pa.table({"text": column}), folder / "texts.parquet", row_group_size=ROWS)
    return folder / "texts.parquet"


def test_memory_does_not_hold_what_was_read(tmp_path: Path) -> None:
    path, before = written(tmp_path), pa.total_allocated_bytes()
    for read in (
        (batch.num_rows for batch in batches(path, ["text"], 64)),
        (opened(path).read_row_group(number).num_rows for number in range(GROUPS)),
    ):
        held = [(rows, pa.total_allocated_bytes() - before) for rows in read]
        assert sum(rows for rows, _ in held) == GROUPS * ROWS
        # Some row groups: the threads that read them free them a little later. What was read would be all of them.
        assert max(held_bytes for _, held_bytes in held) < GROUPS * ROWS * BYTES / 4
