"""Finished stages for the tests of the analyses: a collection, vectors, runs, mined lists, a model with its probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made import seal, stage_of
from safetensors.numpy import save_file

from hardneg.data.judgements import Judgements
from hardneg.retrieval.runs import write_run
from hardneg.stages.artifacts import Artifact

DIM = 16

# Judgements of a split, and rankings: (query, passage) to grade, and passages by query, best first.
Grades = Mapping[tuple[int, int], int]
Ranking = Mapping[int, Iterable[int]]


def collection_of(folder: Path, passages: int, queries: Mapping[str, int], grades: Mapping[str, Grades]) -> Artifact:
    """A collection of passages p0, p1, ... and of queries <split>0, <split>1, ..., each with a text of its own."""
    stage = stage_of(folder, {"train": "train"})
    names = [f"p{number}" for number in range(passages)]
    texts = {"title": [f"title {name}" for name in names], "text": [f"{name} " * 150 for name in names]}
    tables = {"passages": pa.table({"passage_id": names, "url": [""] * passages, **texts})}
    for split, count in queries.items():
        ids = [f"{split}{number}" for number in range(count)]
        tables[f"queries.{split}"] = pa.table({"query_id": ids, "text": [f"what is {name}?" for name in ids]})
        judged = [(query, passage, grade) for (query, passage), grade in grades[split].items()]
        columns = zip(("query", "passage", "grade"), zip(*judged, strict=True), strict=True)
        tables[f"qrels.{split}"] = pa.table({name: np.array(column, np.int32) for name, column in columns})
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=7)
    stage.facts = {"passages": passages, "splits": {split: {"queries": count} for split, count in queries.items()}}
    return seal(stage, [f"{name}.parquet" for name in tables])


def passages_of(folder: Path, vectors: np.ndarray, shards: int = 2) -> Artifact:
    """Vectors of all passages."""
    stage = stage_of(folder, {})
    stage.facts = {"shards": [f"{number}.npy" for number in range(shards)], "rows": len(vectors)}
    for name, part in zip(stage.facts["shards"], np.array_split(vectors, shards), strict=True):
        np.save(folder / name, part)
    return seal(stage, stage.facts["shards"])


def queries_of(folder: Path, split: str, vectors: np.ndarray) -> Artifact:
    """Vectors of a split's queries."""
    stage = stage_of(folder, {})
    np.save(folder / f"queries.{split}.npy", vectors)
    return seal(stage, [f"queries.{split}.npy"])


def run_of(folder: Path, split: str, ranking: Ranking, depth: int = 1000) -> Artifact:
    """A ranking, with scores of 100 less the rank."""
    stage = stage_of(folder, {"depth": depth})
    write_ranking(folder / f"run.{split}.parquet", ranking)
    return seal(stage, [f"run.{split}.parquet"])


def negatives_of(folder: Path, ranking: Ranking) -> Artifact:
    """Mined lists, with the ranks and scores of a run of their own."""
    stage = stage_of(folder, {})
    write_ranking(folder / "negatives.parquet", ranking)
    return seal(stage, ["negatives.parquet"])


def write_ranking(path: Path, ranking: Ranking, left_out: Iterable[tuple[int, int]] = ()) -> None:
    """Write a ranking as a run, less some pairs of query and passage, which leave gaps in the ranks."""
    hits = [(query, passage, rank) for query, found in sorted(ranking.items()) for rank, passage in enumerate(found, 1)]
    kept = np.array([hit for hit in hits if hit[:2] not in set(left_out)], np.int32).reshape(-1, 3)
    query, passage, rank = kept.T
    write_run(path, query, passage, rank, 100.0 - rank)


def model_of(folder: Path, kind: str, kept: Mapping[str, np.ndarray] | None = None, **facts: Any) -> Artifact:
    """A trained model, less its weights."""
    stage = stage_of(folder, {"split": "train", "trains": "query_encoder"})
    stage.record["kind"] = kind
    stage.facts = facts
    if kept is None:
        return seal(stage, [])
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in kept.items()}, folder / "kept.safetensors")
    return seal(stage, ["kept.safetensors"])


def judgements_of(grades: Grades, queries: int, passages: int) -> Judgements:
    """The judgements of `collection_of`."""
    query, passage = np.array(list(grades)).T
    return Judgements(query, passage, np.array(list(grades.values())), queries, passages)


def normal(rows: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Random vectors, no two alike."""
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
