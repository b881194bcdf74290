"""Mining: a ranking of the training queries, less the judged positives, less what the filter throws out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.artifacts import atomic_path
from hardneg.data.judgements import Judgements

FILE = "negatives.parquet"


def mine(run: Path, judged: Judgements, queries: int, keep: Callable[..., pa.Table], target: Path) -> dict[str, Any]:
    """Write `negatives.parquet`: query int32, passage int32, rank int32 (in the mined ranking, from 1), score float32.

    Queries with many positives, and small collections, simply keep fewer candidates than the run is deep.

    Args:
        run: `run.<split>.parquet` of the training queries, sorted by query and rank.
        judged: the training judgements.
        queries: number of training queries.
        keep: the filter.
        target: the file to write.

    Returns:
        Facts: candidates kept, judged positives removed, and queries left without any candidate.
    """
    table = pq.read_table(run, columns=["query", "passage", "rank", "score"])
    relevant = judged.contains(table.column("query").to_numpy(), table.column("passage").to_numpy())
    kept = keep(table.filter(pa.array(~relevant)))
    with atomic_path(target) as temporary:
        pq.write_table(kept, temporary, compression="zstd")
    with_some = pc.count_distinct(kept.column("query")).as_py()
    return {
        "candidates": len(kept),
        "positives_removed": int(relevant.sum()),
        "queries_without_candidates": queries - with_some,
    }
