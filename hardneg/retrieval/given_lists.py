"""What a collection itself gives for its training queries: negatives as a ranking, and scores of pairs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.given import GIVEN, GIVEN_POSITIVES
from hardneg.errors import HardnegError
from hardneg.retrieval.pair_scores import FILE, SCHEMA
from hardneg.retrieval.runs import write_run
from hardneg.stages.artifacts import Artifact, atomic_path


class Counts(NamedTuple):
    """What is given.

    Attributes:
        negatives: all of them.
        scores: how many of these have a score.
        taken: how many are among the first `depth` of their query.
        taken_scores: how many of these have a score.
        positive_scores: relevant passages with a score.
    """

    negatives: int
    scores: int
    taken: int
    taken_scores: int
    positive_scores: int


def given_lists(
    collection: Artifact, split: str, depth: int, needed: Collection[str], folder: Path
) -> tuple[list[str], Counts]:
    """Write `run.<split>.parquet`, the negatives of each query in their order, and `scores.parquet`, scores of pairs.

    The run has the schema of any run. Its scores are the given ones if all of its negatives have one, and otherwise
    minus the ranks. `scores.parquet` (query int32, passage int32, score float32) has the relevant passages and the
    negatives that have a score, of any rank; it is written if there is one.

    Args:
        collection: the prepared collection.
        split: of the queries.
        depth: how many negatives of a query are taken; 0 writes no run.
        needed: what there must be: `negatives`; `every_score`, one for each negative that is taken; `scores`, one for
            some negative; `positive_scores`, one for some relevant passage.
        folder: where to write.

    Returns:
        The names of the files, and counts.

    Raises:
        HardnegError: something that is needed is not there.
    """
    query, passage, rank, score = _read(collection, GIVEN.format(split=split), ("query", "passage", "rank", "score"))
    asked, read, known = _read(collection, GIVEN_POSITIVES.format(split=split), ("query", "passage", "score"))
    taken, scored = rank <= depth, ~np.isnan(score)
    counts = Counts(len(query), int(scored.sum()), int(taken.sum()), int((taken & scored).sum()), len(asked))
    _check(counts, needed, f"collection {collection.manifest['dataset']}, split {split}")
    names = []
    if depth:
        names.append(f"run.{split}.parquet")
        shown = score if counts.taken_scores == counts.taken else -rank.astype(np.float32)
        write_run(folder / names[-1], query[taken], passage[taken], rank[taken], shown[taken])
    if counts.scores + counts.positive_scores:
        names.append(FILE)
        columns = ((asked, query[scored]), (read, passage[scored]), (known, score[scored]))
        with atomic_path(folder / FILE) as temporary:
            pq.write_table(pa.table([pa.array(np.concatenate(column)) for column in columns], SCHEMA), temporary)
    return names, counts


def _read(collection: Artifact, name: str, columns: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    """Columns of a file that exists only where it has rows."""
    if name not in collection.manifest["files"]:
        return [np.zeros(0, np.float32 if column == "score" else np.int32) for column in columns]
    table = pq.read_table(collection.path(name), columns=list(columns))
    return [table.column(column).to_numpy() for column in columns]


def _check(counts: Counts, needed: Collection[str], where: str) -> None:
    if "negatives" in needed and not counts.negatives:
        raise HardnegError(
            "The rows of the collection give no negatives.",
            where=where,
            found="no negatives for its queries",
            expected="negatives in the rows, under a known name or one given in collection.columns.negative",
            remedy="add or name them, or mine another source, such as `source: {name: run, system: bm25}`.",
        )
    if "every_score" in needed and counts.taken_scores < counts.taken:
        raise HardnegError(
            "A filter or sampler reads the scores of given negatives, and some have none.",
            where=where,
            found=f"{counts.taken - counts.taken_scores:,} of {counts.taken:,} negatives without a score",
            expected="a score for each (neg_scores, or scores)",
            remedy="add them, or choose answers that read no scores, such as `sampler: uniform` without a filter.",
        )
    lacking = {"scores": ("negatives", counts.scores), "positive_scores": ("relevant passages", counts.positive_scores)}
    for need, (what, count) in lacking.items():
        if need in needed and not count:
            raise HardnegError(
                f"An answer reads the given scores of {what}, and none has one.",
                where=where,
                found=f"0 scores of {what}",
                expected="scores in the rows (pos_scores and neg_scores, or scores)",
                remedy="add them, or choose answers that read no given scores.",
            )
