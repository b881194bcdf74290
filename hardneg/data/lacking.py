"""Judgements of passages that a collection lacks. They count in evaluation, as in trec_eval, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.documents import judged_documents, read_documents
from hardneg.stages.artifacts import Artifact, atomic_path

LACKING = "lacking.{split}.parquet"
SCHEMA = pa.schema([("query", pa.int32()), ("passage_id", pa.string()), ("grade", pa.int32())])


def write_lacking(path: Path, lacking: Mapping[tuple[int, str], int]) -> list[Path]:
    """Write the grades of such passages, by query position and passage id, if there are any.

    Returns:
        The files written.
    """
    if not lacking:
        return []
    rows = [(query, passage, grade) for (query, passage), grade in sorted(lacking.items())]
    table = pa.table(dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True)), schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return [path]


def scored_judgements(collection: Artifact, split: str) -> pa.Table:
    """The judgements that a run is scored by: of passages or, where these were cut from documents, of documents.

    Passages that the collection lacks have negative positions, which no run holds, so that relevant ones count as
    never found.

    Returns:
        query, passage (or document; positions) and grade.
    """
    qrels = pq.read_table(collection.path(f"qrels.{split}.parquet"), columns=["query", "passage", "grade"])
    documents = read_documents(collection)
    if documents is not None:
        qrels = judged_documents(qrels, documents)
    name = LACKING.format(split=split)
    if name not in collection.manifest["files"]:
        return qrels
    lacking = pq.read_table(collection.path(name))
    absent = pa.array(-1 - np.arange(len(lacking)), pa.int32())
    further = pa.table({"query": lacking["query"], "passage": absent, "grade": lacking["grade"]})
    return pa.concat_tables([qrels.cast(further.schema), further])
