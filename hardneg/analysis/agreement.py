"""Holes in the judgements (methods 2.4): unjudged passages at the top ranks, and those that several systems share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.retrieval.runs import read_run
from hardneg.stages.artifacts import Artifact


def agreement(
    collection: Artifact,
    split: str,
    runs: Mapping[str, Path],
    *,
    k: int,
    agree: int,
    relevant_grade: int,
    exhaustive: bool,
) -> pd.DataFrame:
    """Count judged, unjudged and agreed-on passages in the top k of each system.

    Args:
        collection: the prepared collection.
        split: the split of the runs.
        runs: `run.<split>.parquet` by system.
        k: the depth of the rankings.
        agree: an unjudged passage counts as agreed on if at least this many other systems rank it in their top k.
        relevant_grade: the lowest grade that counts as relevant.
        exhaustive: whether every relevant passage is judged. Only then can the false negatives of a sparse collection
            be measured.

    Returns:
        One row per system with these columns.

        * system; queries: how many have a hit; hits: total in the top k over all queries.
        * relevant, judged_not_relevant, unjudged: counts of hits. agreed: unjudged hits that are agreed on, which are
          likely false negatives.
        * hole: unjudged / hits, over all queries together (as in ANCE).
        * measured_false_negative_rate: suppose each query kept only its best judged passage (ties: the lowest
          position). Of the other judged hits, this is the share that is relevant. NaN if the judgements are not
          exhaustive or there are no such hits.
    """
    qrels = pq.read_table(collection.path(f"qrels.{split}.parquet"), columns=["query", "passage", "grade"])
    width = collection.facts["passages"]
    pairs, relevant, kept = _judged(qrels, width, relevant_grade)
    tops = {system: _top(path, k, width) for system, path in runs.items()}
    found, systems = np.unique(np.concatenate(list(tops.values())), return_counts=True)
    agreed_on = found[(systems > agree) & ~np.isin(found, pairs)]  # ranked by the system itself and `agree` others

    def row(system: str, top: npt.NDArray[np.int64]) -> dict[str, Any]:
        judged = top[np.isin(top, pairs)]
        others = judged[~np.isin(judged, kept)]
        unjudged = len(top) - len(judged)
        return {
            "system": system,
            "queries": len(np.unique(top // width)),
            "hits": len(top),
            "relevant": int(np.isin(judged, relevant).sum()),
            "judged_not_relevant": int((~np.isin(judged, relevant)).sum()),
            "unjudged": unjudged,
            "agreed": int(np.isin(top, agreed_on).sum()),
            "hole": unjudged / len(top),
            "measured_false_negative_rate": np.isin(others, relevant).mean() if exhaustive and len(others) else np.nan,
        }

    return pd.DataFrame([row(system, top) for system, top in tops.items()])


def _judged(
    qrels: pa.Table, width: int, relevant_grade: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Judged pairs as query * width + passage: all, the relevant ones, and each query's best relevant one."""
    query, passage, grade = (qrels.column(name).to_numpy() for name in ("query", "passage", "grade"))
    pairs: npt.NDArray[np.int64] = query.astype(np.int64) * width + passage
    order = np.lexsort((passage, -grade, query))
    best = order[np.unique(query[order], return_index=True)[1]]
    return pairs, pairs[grade >= relevant_grade], pairs[best[grade[best] >= relevant_grade]]


def _top(path: Path, k: int, width: int) -> npt.NDArray[np.int64]:
    """The top-k hits as query * width + passage: int64 [hits]."""
    run = read_run(path)
    query, passage, rank = (run[name].to_numpy() for name in ("query", "passage", "rank"))
    top: npt.NDArray[np.int64] = (query.astype(np.int64) * width + passage)[rank <= k]
    return top
