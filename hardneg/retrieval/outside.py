"""Generated texts as negatives of a training: what is asked for, and which of the texts are taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.copies import digest
from hardneg.data.parquet import batches
from hardneg.generation.types import Generated, Request
from hardneg.retrieval.runs import SCHEMA
from hardneg.stages.artifacts import Artifact, atomic_path

GENERATED, REVIEW = "generated.parquet", "review.tsv"
TYPES = {"query": pa.int32(), "passage": pa.int32(), "number": pa.int32(), "accepted": pa.bool_()}
SCHEMA_OF_TEXTS = pa.schema([(field.name, TYPES.get(field.name, pa.string())) for field in fields(Generated)])


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


def requests_of(collection: Artifact, split: str, count: int | None, seed: int) -> list[Request]:
    """Each training query with its best relevant passage: the first of the highest grade that has a text.

    Args:
        collection: the prepared collection.
        split: of the queries.
        count: how many queries, drawn uniformly; None for all.
        seed: of the draw.
    """
    judged = pq.read_table(collection.path(f"qrels.{split}.parquet"), columns=["query", "passage", "grade"])
    query, passage, grade = (column.to_numpy() for column in judged.columns)
    texts = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["text"]).column(0)
    passages = _texts_of(collection, set(passage[grade > 0].tolist()))
    best: dict[int, int] = {}
    for at in np.lexsort((passage, -grade)):
        asked, answer = int(query[at]), int(passage[at])
        if grade[at] > 0 and passages[answer][1].strip() and texts[asked].as_py().strip():
            best.setdefault(asked, answer)
    chosen = np.array(sorted(best), np.int64)
    if count is not None and count < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, count, replace=False))
    wanted = [(int(asked), best[int(asked)]) for asked in chosen]
    return [Request(asked, at, texts[asked].as_py(), " ".join(passages[at]).strip()) for asked, at in wanted]


def write_texts(generated: Sequence[Generated], path: Path) -> None:
    """Write generated texts as Parquet, accepted or not, in their order, with the columns of `Generated`."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in generated], SCHEMA_OF_TEXTS), temporary)


def read_texts(path: Path) -> list[Generated]:
    """Read what `write_texts` wrote."""
    return [Generated(**row) for row in pq.read_table(path).to_pylist()]


def kept_texts(
    generated: Path, collection: Artifact, split: str, reviewed: Collection[tuple[int, int, int]] | None = None
) -> Kept:
    """The accepted texts, without those that a person struck out and those that are no negatives by their words.

    A text is no negative if it is the query itself or a passage that is judged relevant to it. Texts count as equal if
    they differ at most in white space and case. A text that a query has twice is taken once.

    Args:
        generated: see `write_texts`.
        collection: the prepared collection.
        split: of the queries.
        reviewed: what a person left: query, passage and number; None where nobody looked.
    """
    texts = read_texts(generated)
    facts = dict.fromkeys(("written", "rejected", "struck", "relevant_or_query", "repeated"), 0)
    forbidden = _forbidden(collection, split, {one.query for one in texts})
    chosen: dict[int, dict[int, str]] = defaultdict(dict)
    for one in texts:
        same = digest(one.text)
        facts["written"] += 1
        if not one.accepted:
            facts["rejected"] += 1
        elif reviewed is not None and (one.query, one.passage, one.number) not in reviewed:
            facts["struck"] += 1
        elif same in forbidden[one.query]:
            facts["relevant_or_query"] += 1
        elif same in chosen[one.query]:
            facts["repeated"] += 1
        else:
            chosen[one.query][same] = one.text
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
    for passage, (title, body) in _texts_of(collection, relevant).items():
        for query in relevant[passage]:
            forbidden[query] |= {digest(f"{title} {body}"), digest(body)}
    return forbidden


def _texts_of(collection: Artifact, passages: Iterable[int]) -> dict[int, tuple[str, str]]:
    """The title and text of some passages, by position."""
    wanted, found, start = np.array(sorted(passages), np.int64), {}, 0
    for batch in batches(collection.path("passages.parquet"), ["title", "text"]):
        titles, bodies = batch.column("title"), batch.column("text")
        for passage in wanted[(wanted >= start) & (wanted < start + len(batch))].tolist():
            found[passage] = (titles[passage - start].as_py(), bodies[passage - start].as_py())
        start += len(batch)
    return found
