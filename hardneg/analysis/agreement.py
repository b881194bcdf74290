"""Holes in the judgements (methods 2.4): what systems rank at the top unjudged, and where they agree on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
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
    """Count what is in the top k of each system.

    Args:
        collection: the prepared collection.
        split: the split of the runs.
        runs: `run.<split>.parquet` by system.
        k: ranks looked at.
        agree: how many other systems must have an unjudged passage in their top k for it to count as agreed on.
        relevant_grade: the lowest that counts as relevant.
        exhaustive: the judgements leave out nothing, so that the false negatives of a sparse collection can be counted.

    Returns:
        A row a system: system; queries that have a hit; hits in the top k over all queries; how many of them are
        relevant, judged_not_relevant, unjudged, and agreed (unjudged and agreed on: likely false negatives); hole,
        unjudged / hits (ANCE's definition, one share over all queries); measured_false_negative_rate: if each query
        kept only its best judged relevant passage (of equal grades the lowest position), the share of the relevant
        among the other judged hits; missing where the judgements are not exhaustive, or there are no such hits.
    """
    qrels = pq.read_table(collection.path(f"qrels.{split}.parquet"), columns=["query", "passage", "grade"])
    query, passage, grade = (column.to_numpy() for column in qrels.columns)
    width = collection.facts["passages"]
    pairs = query.astype(np.int64) * width + passage
    relevant = pairs[grade >= relevant_grade]
    order = np.lexsort((passage, -grade, query))
    best = order[np.unique(query[order], return_index=True)[1]]
    kept = pairs[best[grade[best] >= relevant_grade]]

    tops = {system: _top(path, k, width) for system, path in runs.items()}
    found, systems = np.unique(np.concatenate(list(tops.values())), return_counts=True)
    agreed_on = found[(systems > agree) & ~np.isin(found, pairs)]  # the system itself, and `agree` others
    rows = []
    for system, top in tops.items():
        judged = top[np.isin(top, pairs)]
        others = judged[~np.isin(judged, kept)]
        unjudged = len(top) - len(judged)
        rows.append(
            {
                "system": system,
                "queries": len(np.unique(top // width)),
                "hits": len(top),
                "relevant": int(np.isin(judged, relevant).sum()),
                "judged_not_relevant": int((~np.isin(judged, relevant)).sum()),
                "unjudged": unjudged,
                "agreed": int(np.isin(top, agreed_on).sum()),
                "hole": unjudged / len(top),
                "measured_false_negative_rate": np.isin(others, relevant).mean()
                if exhaustive and len(others)
                else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _top(path: Path, k: int, width: int) -> npt.NDArray[np.int64]:
    """The hits of the first k ranks, each as query * width + passage."""
    run = read_run(path)
    query, passage, rank = (run[name].to_numpy() for name in ("query", "passage", "rank"))
    top: npt.NDArray[np.int64] = (query.astype(np.int64) * width + passage)[rank <= k]
    return top
