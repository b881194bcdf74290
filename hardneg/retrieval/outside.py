"""Generated texts as negatives of a training: which of them are taken, and for which query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.copies import digest
from hardneg.retrieval.runs import SCHEMA
from hardneg.stages.artifacts import Artifact, atomic_path

GENERATED = "generated.parquet"
COLUMNS = ("query", "passage", "number", "text", "accepted")


class Kept(NamedTuple):
    """Generated texts that are taken as negatives.

    Attributes:
        query: int32 [n], ascending.
        texts: n texts, those of a query in the order in which they were written.
        facts: how many were written, and why some were left out.
    """

    query: np.ndarray
    texts: list[str]
    facts: dict[str, int]


def kept_texts(
    generated: Path, collection: Artifact, split: str, reviewed: Collection[tuple[int, int, int]] | None = None
) -> Kept:
    """The accepted texts, without those that a person struck out and those that are no negatives by their words.

    A text is no negative if it is the query itself or a passage that is judged relevant to it. Texts count as equal if
    they differ at most in white space and case. A text that a query has twice is taken once.

    Args:
        generated: a Parquet file with the columns query, passage, number, text and accepted.
        collection: the prepared collection.
        split: of the queries.
        reviewed: what a person left: query, passage and number; None where nobody looked.
    """
    rows = pq.read_table(generated, columns=list(COLUMNS)).to_pylist()
    facts = dict.fromkeys(("written", "rejected", "struck", "relevant_or_query", "repeated"), 0)
    forbidden = _forbidden(collection, split, {row["query"] for row in rows})
    chosen: dict[int, dict[int, str]] = defaultdict(dict)
    for row in rows:
        query, same = row["query"], digest(row["text"])
        facts["written"] += 1
        if not row["accepted"]:
            facts["rejected"] += 1
        elif reviewed is not None and (query, row["passage"], row["number"]) not in reviewed:
            facts["struck"] += 1
        elif same in forbidden[query]:
            facts["relevant_or_query"] += 1
        elif same in chosen[query]:
            facts["repeated"] += 1
        else:
            chosen[query][same] = row["text"]
    taken = [(query, text) for query in sorted(chosen) for text in chosen[query].values()]
    return Kept(np.array([query for query, _ in taken], np.int32), [text for _, text in taken], facts)


def write_lists(query: np.ndarray, passages: int, path: Path) -> None:
    """Write the lists of `kept_texts` as mining writes its own: query, passage, rank int32, score float32 (NaN).

    Args:
        query: int32 [n], ascending.
        passages: in the collection. The i-th text has the position passages + i.
        path: the Parquet file.
    """
    count = np.arange(len(query), dtype=np.int64)
    _, first, sizes = np.unique(query, return_index=True, return_counts=True)
    columns = (query, count + passages, count - np.repeat(first, sizes) + 1, np.full(len(query), np.nan))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), temporary)


def _forbidden(collection: Artifact, split: str, queries: set[int]) -> dict[int, set[int]]:
    """The digests of each query's own text and of its relevant passages, with and without their titles."""
    texts = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["text"]).column(0)
    forbidden = {query: {digest(texts[query].as_py())} for query in queries}
    judged: dict[str, Any] = pq.read_table(collection.path(f"qrels.{split}.parquet")).to_pydict()
    relevant: dict[int, list[int]] = defaultdict(list)
    for query, passage, grade in zip(judged["query"], judged["passage"], judged["grade"], strict=True):
        if grade > 0 and query in queries:
            relevant[passage].append(query)
    file, start = pq.ParquetFile(collection.path("passages.parquet")), 0
    for batch in file.iter_batches(columns=["title", "text"]):
        titles, bodies = batch.column("title"), batch.column("text")
        for passage in (passage for passage in relevant if start <= passage < start + len(batch)):
            title, body = titles[passage - start].as_py(), bodies[passage - start].as_py()
            for query in relevant[passage]:
                forbidden[query] |= {digest(f"{title} {body}"), digest(body)}
        start += len(batch)
    return forbidden
