"""Any collection into the Parquet files that every later stage reads, checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.artifacts import atomic_path
from hardneg.data.collection import CollectionReader, Judgement
from hardneg.errors import HardnegError
from hardneg.progress import Progress

ROWS_AT_ONCE = 20_000
T = TypeVar("T")

PASSAGES = pa.schema([("passage_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
QUERIES = pa.schema([("query_id", pa.string()), ("text", pa.string())])


def prepare(
    reader: CollectionReader, folder: Path, splits: Sequence[str], train: str, progress: Path | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Write `passages.parquet`, and `queries.<split>.parquet` and `qrels.<split>.parquet` for each split.

    A row's number is the passage's, or the query's, position from here on. Text is streamed; only ids stay in memory.

    Args:
        reader: the collection.
        folder: where the files go.
        splits: the splits wanted.
        train: the one that trains.
        progress: where progress lines go.

    Returns:
        The names of the files, and facts: counts of passages, queries, judgements and positives.

    Raises:
        HardnegError: an empty collection, duplicate or empty ids, judgements of unknown queries or passages, a split
            that the collection lacks, no positive judgement in the training split.
    """
    lacking = [split for split in splits if split not in reader.splits()]
    if lacking:
        raise HardnegError(
            "The collection has no such split.",
            where="splits",
            found=", ".join(lacking),
            expected=", ".join(reader.splits()),
            remedy="name its splits under `splits` in the configuration.",
        )
    rows = ((p.passage_id, p.title, p.text) for p in reader.passages())
    with Progress("prepare passages", None, "passages", progress) as bar:
        count, empty = _write_texts(folder / "passages.parquet", rows, PASSAGES, bar)
    if count == 0:
        raise HardnegError(
            "The collection has no passages.",
            where="collection",
            found="0 passages",
            remedy="check the collection's files.",
        )
    passage_ids = _unique_ids(
        folder / "passages.parquet",
        "passage_id",
        "passages",
        lambda wanted: (p.where for p in reader.passages() if p.passage_id == wanted),
    )
    facts: dict[str, Any] = {
        "passages": count,
        "empty_passages": empty,
        "splits": {},
        "provenance": reader.provenance(),
    }
    names = ["passages.parquet"]
    for split in splits:
        queries, qrels = folder / f"queries.{split}.parquet", folder / f"qrels.{split}.parquet"
        with Progress(f"prepare {split} queries", None, "queries", progress) as bar:
            asked, _ = _write_texts(queries, ((q.query_id, q.text) for q in reader.queries(split)), QUERIES, bar)
        if asked == 0:
            raise HardnegError(
                "A split has no queries.",
                where=f"split {split}",
                found="0 queries",
                remedy="check its queries and judgements.",
            )
        query_ids = _unique_ids(queries, "query_id", f"{split} queries", partial(_places, reader, split))
        judgements = list(reader.judgements(split))
        judged = _judgements(judgements, query_ids, passage_ids, split)
        _write_table(qrels, judged)
        grades = judged.column("grade").to_numpy()
        positives = int((grades > 0).sum())
        if positives == 0:
            raise HardnegError(
                "A split has no positive judgement.",
                where=f"split {split}, {judgements[0].where or 'its judgements'} and on",
                found=f"{len(grades)} judgements, none above grade 0",
                remedy="training and measuring both need relevant passages: check the qrels, or leave the split out."
                if split != train
                else "training needs relevant passages: check the qrels of the training split.",
            )
        facts["splits"][split] = {"queries": asked, "judgements": len(grades), "positives": positives}
        names += [queries.name, qrels.name]
    return names, facts


def _write_texts(path: Path, rows: Iterable[tuple[str, ...]], schema: pa.Schema, bar: Progress) -> tuple[int, int]:
    """Stream rows (id first, text last) into Parquet; the number of rows, and of those without any text."""
    count = empty = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for group in in_groups(rows, ROWS_AT_ONCE):
            columns = list(zip(*group, strict=True))
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))
            count += len(group)
            empty += sum(not any(part.strip() for part in row[1:]) for row in group)
            bar.advance(len(group))
    return count, empty


def in_groups(rows: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Consecutive groups of `size` rows; the last may be smaller."""
    remaining = iter(rows)
    while group := tuple(islice(remaining, size)):
        yield group


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _places(reader: CollectionReader, split: str, query_id: str) -> Iterator[str]:
    """Where the records of a query come from."""
    return (query.where for query in reader.queries(split) if query.query_id == query_id)


def _unique_ids(path: Path, column: str, what: str, places: Callable[[str], Iterable[str]]) -> pa.Array:
    """The ids in a file; `places` finds where the records of an id come from, for the message about a repeated one."""
    ids = pq.read_table(path, columns=[column]).column(column).combine_chunks()
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        examples = [value.as_py() for value in repeated.field("values")[:3]]
        first_two = [place for place in islice(places(examples[0]), 2) if place]
        raise HardnegError(
            f"Ids are not unique among the {what}.",
            where=" and ".join(first_two) or what,
            found=f"more than once: {', '.join(map(repr, examples))} ({len(repeated):,} such ids)",
            expected="each id once",
            remedy="remove or rename the duplicates.",
        )
    if pc.any(pc.equal(ids, "")).as_py():
        row = pc.index(ids, "").as_py()
        raise HardnegError("An id is empty.", where=f"{what}, number {row + 1}", found="''", remedy="give it an id.")
    return ids


def _judgements(judgements: list[Judgement], query_ids: pa.Array, passage_ids: pa.Array, split: str) -> pa.Table:
    queries = pa.array([j.query_id for j in judgements], pa.string())
    passages = pa.array([j.passage_id for j in judgements], pa.string())
    at = {"query": pc.index_in(queries, query_ids), "passage": pc.index_in(passages, passage_ids)}
    for kind, column, positions in (("query", queries, at["query"]), ("passage", passages, at["passage"])):
        if positions.null_count:
            row = pc.index(pc.is_null(positions), True).as_py()
            raise HardnegError(
                f"A judgement names a {kind} that does not exist.",
                where=judgements[row].where or f"qrels of split {split}, number {row + 1}",
                found=f"{kind} {column[row].as_py()!r} ({positions.null_count:,} such judgements)",
                expected=f"an id of the {kind} file",
                remedy=f"add that {kind} or remove the judgement.",
            )
    table = pa.table(
        {
            "query_id": queries,
            "passage_id": passages,
            "grade": pa.array([j.grade for j in judgements], pa.int32()),
            "query": at["query"].cast(pa.int32()),
            "passage": at["passage"].cast(pa.int32()),
        }
    )
    return table.sort_by([("query", "ascending"), ("passage", "ascending")])
