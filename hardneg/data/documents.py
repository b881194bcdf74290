"""Documents that were cut into passages: which passage belongs to which, and what is judged of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.stages.artifacts import Artifact


def read_documents(collection: Artifact) -> npt.NDArray[np.int32] | None:
    """The document of each passage: positions int32 [passages]; None where passages were not cut from documents."""
    if "documents" not in collection.facts:
        return None
    document: npt.NDArray[np.int32] = (
        pq.read_table(collection.path("passages.parquet"), columns=["document"]).column(0).to_numpy()
    )
    return document


def judged_documents(qrels: pa.Table, document: npt.NDArray[np.int32]) -> pa.Table:
    """The judgements of documents, of which every passage carries its document's grade.

    Args:
        qrels: query, passage (positions) and grade of passages.
        document: as `read_documents` gives it.

    Returns:
        query, passage (now the document's position) and grade, each document once for a query.
    """
    owner = pa.array(document[qrels["passage"].to_numpy()])
    whole = pa.table({"query": qrels["query"], "passage": owner, "grade": qrels["grade"]})
    once: pa.Table = whole.group_by(["query", "passage"], use_threads=False).aggregate([("grade", "max")])
    return once.rename_columns(["query", "passage", "grade"]).sort_by(
        [("query", "ascending"), ("passage", "ascending")]
    )
