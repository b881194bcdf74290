"""What a collection itself gives for its queries: negatives, and scores of relevant passages.

* `given.<split>.parquet`: query, passage (positions), rank (from 1, in the order given) and score (NaN where none is
  given) of the negatives of each query, by query, then by rank;
* `given_positives.<split>.parquet`: query, passage and score of the relevant passages that have a score.

Each exists only if it would have a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.collection import Given
from hardneg.data.ids import Ids
from hardneg.stages.artifacts import atomic_path

GIVEN = "given.{split}.parquet"
GIVEN_POSITIVES = "given_positives.{split}.parquet"
SCHEMA = pa.schema([("query", pa.int32()), ("passage", pa.int32()), ("rank", pa.int32()), ("score", pa.float32())])
POSITIVES = pa.schema([("query", pa.int32()), ("passage", pa.int32()), ("score", pa.float32())])

Positions = npt.NDArray[np.int64]


def write_given(
    folder: Path,
    split: str,
    groups: Iterable[tuple[Given, ...]],
    query_ids: Ids,
    ids: Ids,
    relevant: Positions,
    firsts: Positions | None = None,
) -> tuple[list[Path], dict[str, int]]:
    """Write what a collection gives for the queries of a split.

    A negative that is judged relevant is left out, and so is what is given a second time.

    Args:
        folder: where the files go.
        split: its name.
        groups: what is given, in groups.
        query_ids: ids of the split's queries; others are passed over.
        ids: ids of the passages.
        relevant: keys, query * passages + passage, of the relevant pairs.
        firsts: the first passage of each document, where `ids` are of documents; it stands for the document.

    Returns:
        The files written, and counts of the negatives, of those left out as relevant, and of the scores.
    """
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, bool))]
    for group in groups:
        query = query_ids.positions([each.query_id for each in group])
        passage = ids.positions([each.passage_id for each in group])
        there = (query >= 0) & (passage >= 0)
        score = np.array([each.score for each in group], np.float32)
        parts.append(((query * len(ids) + passage)[there], score[there], np.array([e.relevant for e in group])[there]))
    keys, scores, positive = (np.concatenate(column) for column in zip(*parts, strict=True))
    judged = np.isin(keys, relevant)
    files = []
    negatives, found = _first(keys[~positive & ~judged], scores[~positive & ~judged])
    query, passage = np.divmod(negatives, len(ids))
    order = np.argsort(query, kind="stable")
    query, passage = query[order], passage[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query) + 1
    passage = passage if firsts is None else firsts[passage]
    files += _write(folder / GIVEN.format(split=split), SCHEMA, query, passage, rank, found[order])
    scored = judged & ~np.isnan(scores)
    own, own_scores = _first(keys[scored], scores[scored])
    order = np.argsort(own)
    query, passage = np.divmod(own[order], len(ids))
    passage = passage if firsts is None else firsts[passage]
    files += _write(folder / GIVEN_POSITIVES.format(split=split), POSITIVES, query, passage, own_scores[order])
    return files, {
        "given_negatives": len(negatives),
        "given_negatives_relevant": len(np.unique(keys[~positive & judged])),
        "given_scores": int((~np.isnan(found)).sum()) + len(own),
    }


def _first(keys: Positions, scores: npt.NDArray[np.float32]) -> tuple[Positions, npt.NDArray[np.float32]]:
    """Each key where it first stands, in that order, and its score."""
    at = np.sort(np.unique(keys, return_index=True)[1])
    return keys[at], scores[at]


def _write(path: Path, schema: pa.Schema, *columns: npt.NDArray[np.generic]) -> list[Path]:
    if not len(columns[0]):
        return []
    arrays = [pa.array(column).cast(each.type) for column, each in zip(columns, schema, strict=True)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, schema=schema), temporary, compression="zstd")
    return [path]
