"""Mining: a run of the training queries, without judged positives and without what the filters remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.judgements import Judgements
from hardneg.methods.draws import PairScores, Ranked
from hardneg.retrieval.runs import SCHEMA, RunWriter, whole_queries
from hardneg.stages.artifacts import atomic_path

NEGATIVES = "negatives.parquet"
POSITIVES = "positives.parquet"

Keep = Callable[[Ranked], npt.NDArray[np.bool_]]


def mine(
    run: Path,
    judged: Judgements,
    queries: int,
    filters: Sequence[tuple[str, Keep]],
    folder: Path,
    positive_scores: PairScores | None = None,
) -> dict[str, Any]:
    """Write `negatives.parquet`: query int32, passage int32, rank int32 (in the mined run, from 1), score float32.

    A query keeps fewer candidates than the run is deep if it has positives in the run, or if the collection is small.
    The run is streamed. Each call of a filter gets all hits of its queries.

    Args:
        run: `run.<split>.parquet` of the training queries, sorted by query and rank.
        judged: the training judgements.
        queries: number of training queries.
        filters: names, and functions from n hits to bool [n], True for hits that are kept.
        folder: where to write.
        positive_scores: scores of the judged pairs under the mined system, for filters that need them.

    Returns:
        Facts: candidates kept, judged positives removed, queries without any candidate left, and for each filter how
        many candidates it removed and how many judged positives it would have removed.
    """
    candidates = removed = with_some = 0
    thrown = {name: {"removed": 0, "positives": 0} for name, _ in filters}
    best = _lowest(judged, positive_scores, queries) if positive_scores is not None else None
    with RunWriter(folder / NEGATIVES) as writer:
        for table in whole_queries(run):
            query, passage, rank, score = (table[name].to_numpy() for name in SCHEMA.names)
            relevant = judged.contains(query, passage)
            unknown = np.full(len(query), np.nan, np.float32)
            hits = Ranked(query, passage, rank, score, unknown if best is None else best[query])
            stays = ~relevant
            for name, keep in filters:
                kept = keep(hits)
                thrown[name]["removed"] += int((stays & ~kept).sum())
                thrown[name]["positives"] += int((relevant & ~kept).sum())
                stays &= kept
            rows = table.filter(pa.array(stays))
            writer.append(*(rows[name].to_numpy() for name in SCHEMA.names))
            candidates += len(rows)
            removed += int(relevant.sum())
            with_some += len(np.unique(query[stays]))
    return {
        "candidates": candidates,
        "positives_removed": removed,
        "queries_without_candidates": queries - with_some,
        "filters": thrown,
    }


def positives_in(run: Path, judged: Judgements, target: Path, scored: Path | None) -> dict[str, int]:
    """Write `positives.parquet`: query int32, passage int32, score float32 of each judged pair under the mined system.

    Args:
        run: the mined run of the training queries.
        judged: the training judgements.
        target: the file to write.
        scored: `scores.parquet` of the judged pairs under the mined system. None uses the scores in the run; pairs that
            are not in the run have no score (NaN).

    Returns:
        Facts: the number of judged pairs, and how many of them have no score.
    """
    query = np.repeat(np.arange(len(judged.offsets) - 1), np.diff(judged.offsets))
    passage = judged.keys - query * judged.passages
    if scored is not None:
        score = PairScores.read(scored, judged.passages)(query, passage)
    else:
        score = np.full(len(query), np.nan, np.float32)
        for table in whole_queries(run):
            keys = table["query"].to_numpy().astype(np.int64) * judged.passages + table["passage"].to_numpy()
            at = np.minimum(np.searchsorted(judged.keys, keys), len(judged.keys) - 1)
            hit = judged.keys[at] == keys
            score[at[hit]] = table["score"].to_numpy()[hit]
    columns = {"query": query.astype(np.int32), "passage": passage.astype(np.int32), "score": score}
    with atomic_path(target) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
    return {"positives": len(query), "positives_without_score": int(np.isnan(score).sum())}


def _lowest(judged: Judgements, scores: PairScores, queries: int) -> npt.NDArray[np.float32]:
    """The lowest known score of each query's positives: float32 [queries], NaN if none is known."""
    query = np.repeat(np.arange(queries), np.diff(judged.offsets))
    found = scores(query, judged.keys - query * judged.passages)
    lowest = np.full(queries, np.inf, np.float32)
    np.fmin.at(lowest, query, found)
    return np.where(np.isinf(lowest), np.float32(np.nan), lowest)
