"""Mining: a ranking of the training queries, less the judged positives, less what the filter throws out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hardneg.data.judgements import Judgements
from hardneg.retrieval.runs import SCHEMA, RunWriter, whole_queries

FILE = "negatives.parquet"


def mine(run: Path, judged: Judgements, queries: int, keep: Callable[..., pa.Table], target: Path) -> dict[str, Any]:
    """Write `negatives.parquet`: query int32, passage int32, rank int32 (in the mined ranking, from 1), score float32.

    Queries with many positives, and small collections, simply keep fewer candidates than the run is deep. The run is
    streamed; each table that the filter is given holds all candidates of its queries.

    Args:
        run: `run.<split>.parquet` of the training queries, sorted by query and rank.
        judged: the training judgements.
        queries: number of training queries.
        keep: the filter.
        target: the file to write.

    Returns:
        Facts: candidates kept, judged positives removed, and queries left without any candidate.
    """
    candidates = removed = with_some = 0
    with RunWriter(target) as writer:
        for table in whole_queries(run):
            relevant = judged.contains(table["query"].to_numpy(), table["passage"].to_numpy())
            kept = keep(table.filter(pa.array(~relevant)))
            writer.append(*(kept[name].to_numpy() for name in SCHEMA.names))
            candidates += len(kept)
            removed += int(relevant.sum())
            with_some += len(np.unique(kept["query"].to_numpy()))
    return {
        "candidates": candidates,
        "positives_removed": removed,
        "queries_without_candidates": queries - with_some,
    }
