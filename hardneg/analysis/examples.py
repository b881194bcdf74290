"""Queries that one system wins or loses by the largest margin against another, with the passages that explain it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.data.parquet import opened
from hardneg.stages.artifacts import Artifact

CHARACTERS = 400
ABOVE = 5


def examples(
    collection: Artifact,
    split: str,
    per_query: pd.DataFrame,
    runs: Mapping[str, Artifact | Path],
    chosen: str,
    baseline: str,
    count: int,
    relevant_grade: int,
) -> dict[str, Any]:
    """The queries on which `chosen` wins or loses most against `baseline`, for the report.

    Args:
        collection: the prepared collection.
        split: the split of the values and runs.
        per_query: system, query_id and value, for one measure.
        runs: each system's run stage, or its `run.<split>.parquet`.
        chosen: the system to explain.
        baseline: the system it is compared with.
        count: the maximum number of queries, half wins and half losses. Ties go to the earlier query.
        relevant_grade: the lowest grade that counts as relevant.

    Returns:
        JSON types only:

            {"passages": {id: {"title", "text"}},  # texts cut at 400 characters
             "queries": [{"query_id", "text",
                          "values": {system: value},
                          "relevant": [{"id", "ranks": {system: rank, or None if not retrieved}}],
                          "above": {chosen and baseline: [{"id", "rank", "judged"}]}}]}

        Wins come first, the largest first. `above` has up to 5 passages ranked above the first relevant one.
    """
    queries = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["query_id", "text"]).to_pandas()
    values = per_query.pivot(index="query_id", columns="system", values="value").reindex(queries["query_id"])
    shown = _extremes((values[chosen] - values[baseline]).to_numpy(), count)
    judged = _of_queries(collection.path(f"qrels.{split}.parquet"), shown, "grade")
    hits = {system: _of_queries(_path(run, split), shown, "rank") for system, run in runs.items()}
    relevant = {
        query: sorted(passage for passage, grade in grades.items() if grade >= relevant_grade)
        for query, grades in judged.items()
    }
    pair = (chosen, baseline)
    above = {query: {system: _above(hits[system][query], relevant[query]) for system in pair} for query in shown}
    wanted = {passage for query in shown for part in (relevant[query], *above[query].values()) for passage in part}
    passages = _passages(collection.path("passages.parquet"), np.array(sorted(wanted), np.int64))
    ids = {position: passage["passage_id"] for position, passage in passages.items()}

    def entry(query: int) -> dict[str, Any]:
        return {
            **queries.iloc[query].to_dict(),
            "values": values.iloc[query].dropna().to_dict(),
            "relevant": [
                {"id": ids[passage], "ranks": {system: ranks[query].get(passage) for system, ranks in hits.items()}}
                for passage in relevant[query]
            ],
            "above": {system: _listed(ranks, ids, judged[query]) for system, ranks in above[query].items()},
        }

    return {"passages": _texts(passages), "queries": [entry(query) for query in shown]}


def _listed(ranks: Mapping[int, int], ids: Mapping[int, str], judged: Mapping[int, int]) -> list[dict[str, Any]]:
    """Id, rank and whether it is judged, for each passage of `ranks`."""
    return [{"id": ids[passage], "rank": rank, "judged": passage in judged} for passage, rank in ranks.items()]


def _texts(passages: Mapping[int, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Title and shortened text of passages, by id."""
    return {
        passage["passage_id"]: {"title": passage["title"], "text": passage["text"][:CHARACTERS]}
        for passage in passages.values()
    }


def _extremes(difference: npt.NDArray[np.float64], count: int) -> list[int]:
    """Positions of the largest positive values, then of the most negative ones, each up to half of `count`."""
    wins, losses = np.argsort(-difference, kind="stable"), np.argsort(difference, kind="stable")
    return [
        *wins[difference[wins] > 0][: (count + 1) // 2].tolist(),
        *losses[difference[losses] < 0][: count // 2].tolist(),
    ]


def _path(run: Artifact | Path, split: str) -> Path:
    return run.path(f"run.{split}.parquet") if isinstance(run, Artifact) else run


def _of_queries(path: Path, queries: Sequence[int], column: str) -> dict[int, dict[int, int]]:
    """For each given query, the values of a column by passage, in file order."""
    table = pq.read_table(path, columns=["query", "passage", column], filters=pc.field("query").isin(queries))
    values: dict[int, dict[int, int]] = {query: {} for query in queries}
    for query, passage, value in zip(*(part.to_pylist() for part in table.columns), strict=True):
        values[query][passage] = value
    return values


def _above(ranks: Mapping[int, int], relevant: Sequence[int]) -> dict[int, int]:
    """The passages ranked above the first relevant one, at most `ABOVE`, with their ranks."""
    before = itertools.takewhile(lambda hit: hit[0] not in relevant, ranks.items())
    return dict(itertools.islice(before, ABOVE))


def _passages(path: Path, positions: npt.NDArray[np.int64]) -> dict[int, dict[str, str]]:
    """Id, title and text of passages by position. Reads only the row groups that hold one of them."""
    file, start = opened(path), 0
    rows: dict[int, dict[str, str]] = {}
    for number in range(file.num_row_groups):
        end = start + file.metadata.row_group(number).num_rows
        inside = positions[(start <= positions) & (positions < end)]
        if len(inside):
            table = file.read_row_group(number, ["passage_id", "title", "text"]).take(inside - start)
            rows |= zip(inside.tolist(), table.to_pylist(), strict=True)
        start = end
    return rows
