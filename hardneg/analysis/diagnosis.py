"""Negatives looked at: what was mined at which rank, how much of it is likely false, what the batch put together."""

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
    """Look at the negatives of a trained system.

    Args:
        parents: `collection` and `model`; where it mined `run` (what was mined) and `negatives`; where a teacher is
            named its vectors, `teacher_passages` and `teacher_queries`.
        settings: `split`, the training split.

    Returns:
        As `by_rank`, None where nothing was mined; and facts: those of `by_rank`, mined (whose ranking), and those of
        `in_batch_counts`, None for what the system has not.
    """
    collection, model, split = parents["collection"], parents["model"], settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages)
    negatives = parents["negatives"].path(NEGATIVES) if "negatives" in parents else None
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    if model.settings["trains"] == "both_encoders":
        first, steps = model.facts["first_step"], model.facts["steps"]
        facts |= in_batch_counts(Draws.of(model.settings, parents, judged), range(first, first + steps))
    if negatives is None:
        return None, facts
    teacher, run = None, parents["run"]
    if "teacher_passages" in parents:
        asked = parents["teacher_queries"].path(f"queries.{split}.npy")
        teacher = teacher_of(asked, vectors_of(parents["teacher_passages"]))
    table, mined = by_rank(run.path(f"run.{split}.parquet"), negatives, judged, run.settings["depth"], teacher)
    return table, {**facts, "mined": run.manifest["label"], **mined}


def rank_buckets(depth: int) -> list[tuple[int, int]]:
    """Ranks from 1 in growing buckets, both ends included: 1, 2-5, 6-10, 11-20, 21-50, ..., the last cut at `depth`."""
    steps = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    edges = [0, *(edge for edge in itertools.takewhile(lambda edge: edge < depth, steps) if edge != 2), depth]
    return [(before + 1, last) for before, last in itertools.pairwise(edges)]


def by_rank(
    run: Path, negatives: Path, judged: Judgements, depth: int, teacher: Teacher | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What was mined, by its rank in the mined ranking.

    Both files are streamed; memory holds some 20 bytes a candidate.

    Args:
        run: the mined ranking of the training queries.
        negatives: what mining and its filter kept of it, the candidates.
        judged: the training judgements.
        depth: of the ranking.
        teacher: scores pairs; None leaves out what is likely false.

    Returns:
        A row a bucket of ranks: first, last (int32); candidates (int64); judged_positives (int64: hits of the ranking
        that are judged relevant, which mining removed); score_q25, score_median, score_q75 of the candidates' scores;
        margin_q25, margin_median, margin_q75 of these less the score of the query's best judged positive, over queries
        which have one in the ranking; likely_false, the share of candidates that the teacher scores above the query's
        best judged positive, over queries which have one. Missing where there is nothing to tell.

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
    """A dense system as a teacher: inner products, summed in double precision.

    Args:
        queries: vectors of the training queries, `.npy` [queries, dim].
        passages: vectors of all passages.
    """
    asked = np.load(queries, mmap_mode="r")

    def scores(query: npt.NDArray[np.integer], passage: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        return np.einsum("nd,nd->n", asked[query], passages.take(passage), dtype=np.float64)

    return scores


def in_batch_counts(draws: Draws, steps: range) -> dict[str, int]:
    """What the batch put together over some steps, replayed.

    Returns:
        in_batch_pairs: pairs of a query and another row's positive that the batch answer compares; in_batch_judged:
        those of them that are judged relevant, which the loss leaves out.
    """
    compared = judged = 0
    for step in steps:
        meeting = draws.at(step)
        in_batch = meeting.met & (meeting.origin == Origin.IN_BATCH)
        compared += int(in_batch.sum())
        judged += int((in_batch & (meeting.grades > 0)).sum())
    return {"in_batch_pairs": compared, "in_batch_judged": judged}


def _hits(run: Path) -> Iterator[list[npt.NDArray[Any]]]:
    """Query, passage, rank and score of all hits, in parts of whole queries, at least one."""
    for table in itertools.chain([SCHEMA.empty_table()], whole_queries(run)):
        yield [column.to_numpy() for column in table.columns]


def _best_taught(teacher: Teacher, judged: Judgements) -> npt.NDArray[np.float64]:
    """The teacher's score of each query's best judged positive; not a number where it has none: [queries]."""
    query, passage = np.divmod(judged.keys, judged.passages)
    best = np.full(len(judged.offsets) - 1, np.nan)
    np.fmax.at(best, query, _in_parts(teacher, query, passage))
    return best


def _in_parts(
    teacher: Teacher, query: npt.NDArray[np.integer], passage: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(query), PAIRS_AT_ONCE)]
    return np.concatenate([np.zeros(0), *(teacher(query[part], passage[part]) for part in parts)])
