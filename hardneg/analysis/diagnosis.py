"""Diagnosis of negatives: mined candidates by rank, likely false negatives, and in-batch pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hardneg.data.judgements import Judgements
from hardneg.methods.batch import Origin
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.runs import SCHEMA, whole_queries
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact
from hardneg.training.draws import Draws
from hardneg.training.schedule import BEFORE

FACTS = (
    "mined",
    "mined_hits",
    "mined_judged_positives",
    "candidates",
    "queries_with_positive_mined",
    "likely_false_share",
    "in_batch_pairs",
    "in_batch_judged",
)
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
PAIRS_AT_ONCE = 1 << 16

# A teacher's scores of pairs: query positions [n] and passage positions [n] to float64 [n].
Teacher = Callable[[npt.NDArray[np.integer], npt.NDArray[np.integer]], npt.NDArray[np.float64]]


def diagnose(
    parents: Mapping[str, Artifact], settings: Mapping[str, Any]
) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """Describe the negatives of a trained system.

    Args:
        parents: `collection` and `model`; if it mined, `run` (the mined run) and `negatives`; with a teacher, its
            vectors, `teacher_passages` and `teacher_queries`.
        settings: `split`, the training split.

    Returns:
        The table of `by_rank`, None if nothing was mined; and facts: those of `by_rank`, mined (the label of the mined
        run), and those of `in_batch_counts`. Facts that do not apply are None.
    """
    collection, model, split = parents["collection"], parents["model"], settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages)
    negatives = parents["negatives"].path(NEGATIVES) if "negatives" in parents else None
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    if model.settings["trains"] == "both_encoders":
        first, steps = model.facts["first_step"], model.facts["steps"]
        draws = Draws.of(model.settings, parents, judged, before=model.facts.get(BEFORE, 0))
        if not draws.stateful:  # what met in a step cannot be told again from its number
            facts |= in_batch_counts(draws, range(first, first + steps))
    if negatives is None:
        return None, facts
    teacher, run = None, parents["run"]
    if "teacher_passages" in parents:
        asked = parents["teacher_queries"].path(f"queries.{split}.npy")
        teacher = teacher_of(asked, vectors_of(parents["teacher_passages"]))
    table, mined = by_rank(run.path(f"run.{split}.parquet"), negatives, judged, run.settings["depth"], teacher)
    return table, {**facts, "mined": run.manifest["label"], **mined}


def rank_buckets(depth: int) -> list[tuple[int, int]]:
    """Ranges of ranks, both ends included: 1, 2-5, 6-10, 11-20, 21-50, ...; the last range ends at `depth`."""
    steps = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    edges = [0, *(edge for edge in itertools.takewhile(lambda edge: edge < depth, steps) if edge != 2), depth]
    return [(before + 1, last) for before, last in itertools.pairwise(edges)]


def by_rank(
    run: Path, negatives: Path, judged: Judgements, depth: int, teacher: Teacher | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Describe mined negatives by their rank in the mined run.

    Both files are streamed; memory holds about 20 bytes for each candidate.

    Args:
        run: the mined run of the training queries.
        negatives: the candidates that mining and its filters kept.
        judged: the training judgements.
        depth: depth of the run.
        teacher: scores pairs; None omits likely false negatives.

    Returns:
        One row for each range of ranks: first, last (int32); candidates (int64); judged_positives (int64, the hits
        judged relevant, which mining removed); score_q25, score_median, score_q75, quartiles of the candidates' scores;
        margin_q25, margin_median, margin_q75, quartiles of the score minus that of the query's best judged positive,
        over queries with a positive in the run; likely_false, the share of candidates that the teacher scores above the
        query's best judged positive, over queries with a positive. Values without data are missing.

        Facts: mined_hits, mined_judged_positives, candidates, queries_with_positive_mined, likely_false_share.
    """
    buckets = rank_buckets(depth)
    lasts = np.array([last for _, last in buckets])
    best = np.full(len(judged.offsets) - 1, np.nan, np.float32)  # score of the best judged positive in the ranking
    hits, positives = 0, np.zeros(len(buckets), np.int64)
    for query, passage, rank, score in _hits(run):
        relevant = judged.contains(query, passage)
        hits += len(query)
        positives += np.bincount(np.searchsorted(lasts, rank[relevant]), minlength=len(buckets))
        found, first = np.unique(query[relevant], return_index=True)
        best[found] = score[relevant][first]

    bar = None if teacher is None else _best_taught(teacher, judged)
    parts = []
    for query, passage, rank, score in _hits(negatives):
        false = np.full(len(query), np.nan)
        if teacher is not None and bar is not None:
            known = ~np.isnan(bar[query])
            false[known] = _in_parts(teacher, query[known], passage[known]) > bar[query[known]]
        columns = {"score": score, "margin": score - best[query], "false": false}
        parts.append(pd.DataFrame({"bucket": np.searchsorted(lasts, rank).astype(np.int8), **columns}))
    candidates = pd.concat(parts)
    groups = candidates.groupby("bucket")
    table = pd.DataFrame(buckets, columns=["first", "last"], dtype=np.int32)
    table["candidates"] = groups.size().reindex(table.index, fill_value=0)
    table["judged_positives"] = positives
    for column in ("score", "margin"):
        for name, share in QUARTILES.items():
            table[f"{column}_{name}"] = groups[column].quantile(share).reindex(table.index)
    table["likely_false"] = groups["false"].mean().reindex(table.index)
    share = float(candidates["false"].mean())
    return table, {
        "mined_hits": hits,
        "mined_judged_positives": int(positives.sum()),
        "candidates": len(candidates),
        "queries_with_positive_mined": int((~np.isnan(best)).sum()),
        "likely_false_share": None if np.isnan(share) else share,
    }


def teacher_of(queries: Path, passages: VectorStore) -> Teacher:
    """A dense system as a teacher: inner products, computed in double precision.

    Args:
        queries: vectors of the training queries, `.npy` [queries, dim].
        passages: vectors of all passages.
    """
    asked = np.load(queries, mmap_mode="r")

    def scores(query: npt.NDArray[np.integer], passage: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        return np.einsum("nd,nd->n", asked[query], passages.take(passage), dtype=np.float64)

    return scores


def in_batch_counts(draws: Draws, steps: range) -> dict[str, int]:
    """Count the in-batch pairs of some steps, by replaying their batches.

    Returns:
        in_batch_pairs: pairs of a query and another query's positive that the loss compares; in_batch_judged: those
        judged relevant, which the loss masks.
    """
    compared = judged = 0
    for step in steps:
        meeting = draws.at(step)
        in_batch = meeting.met & (meeting.origin == Origin.IN_BATCH)
        compared += int(in_batch.sum())
        judged += int((in_batch & (meeting.grades > 0)).sum())
    return {"in_batch_pairs": compared, "in_batch_judged": judged}


def _hits(run: Path) -> Iterator[list[npt.NDArray[Any]]]:
    """Query, passage, rank and score of all hits, in one or more parts that do not split a query."""
    for table in itertools.chain([SCHEMA.empty_table()], whole_queries(run)):
        yield [column.to_numpy() for column in table.columns]


def _best_taught(teacher: Teacher, judged: Judgements) -> npt.NDArray[np.float64]:
    """The teacher's score of each query's best judged positive: float64 [queries], NaN for queries without one."""
    query, passage = np.divmod(judged.keys, judged.passages)
    best = np.full(len(judged.offsets) - 1, np.nan)
    np.fmax.at(best, query, _in_parts(teacher, query, passage))
    return best


def _in_parts(
    teacher: Teacher, query: npt.NDArray[np.integer], passage: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(query), PAIRS_AT_ONCE)]
    return np.concatenate([np.zeros(0), *(teacher(query[part], passage[part]) for part in parts)])
