"""Documents that were cut into passages: the document of each passage, and the judgements of documents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.stages.artifacts import Artifact


def read_documents(collection: Artifact) -> npt.NDArray[np.int32] | None:
    """The document of each passage: positions, int32 [passages]. None if passages were not cut from documents."""
    if "documents" not in collection.facts:
        return None
    document: npt.NDArray[np.int32] = (
        pq.read_table(collection.path("passages.parquet"), columns=["document"]).column(0).to_numpy()
    )
    return document


def judged_documents(qrels: pa.Table, document: npt.NDArray[np.int32]) -> pa.Table:
    """The judgements of documents, recovered from those of their passages.

    Args:
        qrels: query, passage (positions) and grade, a row per judged passage.
        document: the document of each passage, from `read_documents`.

    Returns:
        query, passage (here the document's position) and grade, one row per query and document.
    """
    owner = pa.array(document[qrels["passage"].to_numpy()])
    whole = pa.table({"query": qrels["query"], "passage": owner, "grade": qrels["grade"]})
    once: pa.Table = whole.group_by(["query", "passage"], use_threads=False).aggregate([("grade", "max")])
    return once.rename_columns(["query", "passage", "grade"]).sort_by(
        [("query", "ascending"), ("passage", "ascending")]
    )
