"""Any collection into the Parquet files that every later stage reads, checked on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.data.collection import CollectionReader, Passage
from hardneg.data.ids import WHITE_SPACE, Ids
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress

# What is held at once: rows, and fewer where their texts are long.
ROWS_AT_ONCE = 20_000
CHARACTERS_AT_ONCE = 32_000_000
T = TypeVar("T")

PASSAGES = pa.schema([(name, pa.string()) for name in ("passage_id", "url", "title", "text")])
WINDOWS = PASSAGES.append(pa.field("document", pa.int32()))
DOCUMENTS = pa.schema([("document_id", pa.string())])
QUERIES = pa.schema([("query_id", pa.string()), ("text", pa.string())])
QRELS = pa.schema(
    [
        ("query_id", pa.string()),
        ("passage_id", pa.string()),
        ("grade", pa.int32()),
        ("query", pa.int32()),
        ("passage", pa.int32()),
    ]
)

_WORD = re.compile(r"\S+")
_FIRST_WINDOW = "#0"


def prepare(
    reader: CollectionReader,
    folder: Path,
    splits: Sequence[str],
    train: str | None,
    progress: Path | None = None,
    windows: tuple[int, int] | None = None,
) -> tuple[list[str], dict[str, Any]]:
    """Write `passages.parquet`, and `queries.<split>.parquet` and `qrels.<split>.parquet` for each split.

    A row's number is the passage's, or the query's, position from here on. Text is streamed; what stays in memory is
    the ids, 16 bytes more for each of them, and some 50 bytes a judgement of one split.

    With `windows` the reader gives documents, and a passage is a window of words over one: `<id>#0`, `<id>#1` and so
    on, each with the document's title and url. `passages.parquet` then says in its column `document` (int32) which
    row of `documents.parquet` each was cut from, and the qrels judge every passage of a judged document, by its grade.

    Args:
        reader: the collection.
        folder: where the files go.
        splits: the splits wanted.
        train: the one that trains, if any.
        progress: where progress lines go.
        windows: words a window, and words that a window shares with the one before it; None leaves texts whole.

    Returns:
        The names of the files, and facts: counts of passages (and documents), queries, judgements (of what the
        collection judges, documents for one) and positives among them, and of what `repairs` tells.

    Raises:
        HardnegError: an empty collection, duplicate or empty ids, judgements of unknown queries or passages, two
            grades for one query and passage, a split that the collection lacks, no positive judgement in a split.
        ValueError: the windows overlap by their whole width.
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
    judged, facts = _passages(reader, folder, windows, progress)
    facts |= {"splits": {}, "provenance": reader.provenance()}
    names = [path.name for path in judged.files]
    for split in splits:
        queries, qrels = folder / f"queries.{split}.parquet", folder / f"qrels.{split}.parquet"
        rows = ((query.query_id, query.text) for query in reader.queries(split))
        with Progress(f"prepare {split} queries", None, "queries", progress) as bar:
            asked, empty = _write_texts(queries, rows, QUERIES, ("text",), bar)
        if asked == 0:
            raise HardnegError(
                "A split has no queries.",
                where=f"split {split}",
                found="0 queries",
                remedy="check its queries and judgements; of a split that is held out, raise the share.",
            )
        query_ids = _unique_ids(queries, "query_id", f"{split} queries", partial(_places, reader, split))
        judgements = _judgements(reader, split, query_ids, judged)
        positive = judgements.grade > 0
        if not positive.any():
            raise HardnegError(
                "A split has no positive judgement.",
                where=f"split {split}, {judgements.where or 'its judgements'} and on",
                found=f"{len(positive)} judgements, none above grade 0",
                remedy="training and measuring both need relevant passages: check the qrels, or leave the split out."
                if split != train
                else "training needs relevant passages: check the qrels of the training split.",
            )
        _write_qrels(qrels, judgements, query_ids, judged)
        facts["splits"][split] = {
            "queries": asked,
            "empty_queries": empty,
            "judgements": len(positive),
            "repeated_judgements": judgements.repeated,
            "positives": int(positive.sum()),
            "queries_without_positives": asked - len(np.unique(judgements.query[positive])),
        }
        names += [queries.name, qrels.name]
    return names, facts


def repairs(facts: Mapping[str, Any]) -> Iterator[str]:
    """What was found amiss in a collection and kept or mended, one line each: told once, to whoever prepared it."""
    if count := facts["empty_passages"]:
        yield f"passages without title and text: {count:,} (kept; they are hardly ever found)"
    for split, counts in facts["splits"].items():
        if count := counts["empty_queries"]:
            yield f"{split} queries without text: {count:,} (kept)"
        if count := counts["repeated_judgements"]:
            yield f"{split} judgements that repeat an earlier one: {count:,} (counted once)"
        if count := counts["queries_without_positives"]:
            yield f"{split} queries without a relevant passage: {count:,} (kept)"


class _Judged(NamedTuple):
    """What judgements name: passages, or the documents they were cut from.

    Attributes:
        kind: passage or document.
        ids: of all of them.
        firsts: int64 [documents + 1], the first passage of each document; None where passages are judged.
        files: what was written of them.
    """

    kind: str
    ids: Ids
    firsts: npt.NDArray[np.int64] | None
    files: list[Path]


class _Judgements(NamedTuple):
    """The judgements of a split, each pair once, by query and then by what is judged.

    Attributes:
        query: int32 [m], query positions.
        judged: int32 [m], passage (or document) positions.
        grade: int32 [m].
        repeated: how many were left out, since an earlier one says the same.
        where: the place of the first.
    """

    query: npt.NDArray[np.int32]
    judged: npt.NDArray[np.int32]
    grade: npt.NDArray[np.int32]
    repeated: int
    where: str


def _passages(
    reader: CollectionReader, folder: Path, windows: tuple[int, int] | None, progress: Path | None
) -> tuple[_Judged, dict[str, Any]]:
    """Write the passages, and the documents they were cut from; what judgements name, and the counts."""
    passages, documents = folder / "passages.parquet", folder / "documents.parquet"

    def places(wanted: str) -> Iterator[str]:
        return (passage.where for passage in reader.passages() if passage.passage_id == wanted)

    rows: Iterable[tuple[Any, ...]]
    if windows is None:
        rows, schema = ((p.passage_id, p.url, p.title, p.text) for p in reader.passages()), PASSAGES
    else:
        rows, schema = _in_windows(reader.passages(), *windows), WINDOWS
    with Progress("prepare passages", None, "passages", progress) as bar:
        count, empty = _write_texts(passages, rows, schema, ("title", "text"), bar)
    if count == 0:
        raise HardnegError(
            "The collection has no passages.",
            where="collection",
            found="0 passages",
            remedy="check the collection's files.",
        )
    facts = {"passages": count, "empty_passages": empty}
    if windows is None:
        ids = _unique_ids(passages, "passage_id", "passages", places)
        return _Judged("passage", ids, None, [passages]), facts
    firsts = _write_documents(passages, documents)
    ids = _unique_ids(documents, "document_id", "documents", places)
    return _Judged("document", ids, firsts, [passages, documents]), facts | {"documents": len(ids)}


def _in_windows(documents: Iterable[Passage], size: int, overlap: int) -> Iterator[tuple[str, str, str, str, int]]:
    """Rows of `WINDOWS`. White space inside a window stays as it is."""
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} words cannot overlap by {overlap}")
    for number, document in enumerate(documents):
        words = [word.span() for word in _WORD.finditer(document.text)]
        # A window begins where the one before it has not yet reached the end.
        starts = range(0, max(len(words) - overlap, 1), size - overlap)
        for window, start in enumerate(starts):
            text = document.text
            if len(starts) > 1:
                text = text[words[start][0] : words[min(start + size, len(words)) - 1][1]]
            yield f"{document.passage_id}#{window}", document.url, document.title, text, number


def _write_documents(passages: Path, path: Path) -> npt.NDArray[np.int64]:
    """Write `documents.parquet`; the position of each document's first passage, and the number of passages."""
    firsts, seen = [np.zeros(0, np.int64)], 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, DOCUMENTS, compression="zstd") as writer:
        for batch in pq.ParquetFile(passages).iter_batches(ROWS_AT_ONCE, columns=["passage_id"]):
            is_first = pc.ends_with(batch.column(0), _FIRST_WINDOW)
            ids = pc.utf8_slice_codeunits(batch.column(0).filter(is_first), 0, -len(_FIRST_WINDOW))
            writer.write_table(pa.table([ids], schema=DOCUMENTS))
            firsts.append(seen + np.flatnonzero(is_first))
            seen += len(batch)
    return np.concatenate([*firsts, [seen]])


def _write_texts(
    path: Path, rows: Iterable[tuple[Any, ...]], schema: pa.Schema, texts: Sequence[str], bar: Progress
) -> tuple[int, int]:
    """Stream rows into Parquet; the number of rows, and of those without a word in any of the columns `texts`."""
    count = empty = 0
    places = [schema.get_field_index(name) for name in texts]
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for group in in_groups(rows, ROWS_AT_ONCE, lambda row: sum(len(row[at]) for at in places), CHARACTERS_AT_ONCE):
            columns = list(zip(*group, strict=True))
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))
            count += len(group)
            empty += sum(not any(row[at].strip() for at in places) for row in group)
            bar.advance(len(group))
    return count, empty


def in_groups(
    rows: Iterable[T], size: int, weight: Callable[[T], int] = lambda row: 0, heaviest: int = 0
) -> Iterator[tuple[T, ...]]:
    """Consecutive groups of at most `size` rows that weigh at most `heaviest` (a single row may weigh more)."""
    group: list[T] = []
    total = 0
    for row in rows:
        total += weight(row)
        if group and (len(group) == size or total > heaviest):
            yield tuple(group)
            group, total = [], weight(row)
        group.append(row)
    if group:
        yield tuple(group)


def _places(reader: CollectionReader, split: str, query_id: str) -> Iterator[str]:
    """Where the records of a query come from."""
    return (query.where for query in reader.queries(split) if query.query_id == query_id)


def _unique_ids(path: Path, column: str, what: str, places: Callable[[str], Iterable[str]]) -> Ids:
    """The ids in a file; `places` finds where the records of an id come from, for the message about a repeated one."""
    ids = Ids(path, column)
    if len(repeated := ids.repeated()):
        examples = [value.as_py() for value in repeated.field("values")[:3]]
        first_two = [place for place in islice(places(examples[0]), 2) if place]
        raise HardnegError(
            f"Ids are not unique among the {what}.",
            where=" and ".join(first_two) or what,
            found=f"more than once: {', '.join(map(repr, examples))} ({len(repeated):,} such ids)",
            expected="each id once",
            remedy="remove or rename the duplicates.",
        )
    if (row := int(ids.positions([""])[0])) >= 0:
        raise HardnegError("An id is empty.", where=f"{what}, number {row + 1}", found="''", remedy="give it an id.")
    spaced = pc.match_substring_regex(ids.texts, WHITE_SPACE)
    if count := pc.sum(spaced).as_py():
        example = ids.texts[pc.index(spaced, True).as_py()].as_py()
        raise HardnegError(
            f"Ids hold white space among the {what}, which separates the columns of TREC runs.",
            where=next((place for place in places(example) if place), what),
            found=f"{example!r} ({count:,} such ids)",
            expected="ids without white space",
            remedy="put another sign in its place, such as _, here and in the judgements.",
        )
    return ids


def _judgements(reader: CollectionReader, split: str, query_ids: Ids, judged: _Judged) -> _Judgements:
    """Stream the judgements of a split into positions, and check them."""
    parts = [np.zeros((3, 0), np.int32)]
    unknown: dict[str, tuple[str, str, int]] = {}  # the first that names something unknown: place, id; how many do
    where, seen = "", 0
    for group in in_groups(reader.judgements(split), ROWS_AT_ONCE):
        wanted = {"query": [j.query_id for j in group], judged.kind: [j.passage_id for j in group]}
        found = {"query": query_ids.positions(wanted["query"]), judged.kind: judged.ids.positions(wanted[judged.kind])}
        for kind, positions in found.items():
            if len(absent := np.flatnonzero(positions < 0)):
                row = int(absent[0])
                place = group[row].where or f"qrels of split {split}, number {seen + row + 1}"
                first = unknown.get(kind, (place, wanted[kind][row], 0))
                unknown[kind] = (*first[:2], first[2] + len(absent))
        parts.append(np.array([*found.values(), [j.grade for j in group]], np.int32))
        where = where or group[0].where
        seen += len(group)
    for kind in ("query", judged.kind):
        if kind in unknown:
            place, name, count = unknown[kind]
            raise HardnegError(
                f"A judgement names a {kind} that does not exist.",
                where=place,
                found=f"{kind} {name!r} ({count:,} such judgements)",
                expected=f"an id of the {kind} file",
                remedy=f"add that {kind} or remove the judgement.",
            )
    query, position, grade = np.concatenate(parts, axis=1)
    order = np.lexsort((position, query))
    query, position, grade = query[order], position[order], grade[order]
    again = (np.diff(query, prepend=-1) == 0) & (np.diff(position, prepend=-1) == 0)
    contrary = np.flatnonzero(again & (np.diff(grade, prepend=0) != 0))
    if len(contrary):
        row = int(contrary[0])
        pair = query_ids.texts[int(query[row])].as_py(), judged.ids.texts[int(position[row])].as_py()
        raise _two_grades(reader, split, judged.kind, pair, len(contrary))
    return _Judgements(query[~again], position[~again], grade[~again], int(again.sum()), where)


def _two_grades(
    reader: CollectionReader, split: str, kind: str, pair: tuple[str, str], judgements: int
) -> HardnegError:
    """The places of the first two grades of a query and passage (or document) whose judgements disagree."""
    first: dict[int, str] = {}
    for judgement in reader.judgements(split):
        if (judgement.query_id, judgement.passage_id) == pair:
            first.setdefault(judgement.grade, judgement.where)
    one, other = islice(first.items(), 2)
    return HardnegError(
        f"A query and a {kind} are judged twice, with different grades.",
        where=" and ".join(filter(None, (one[1], other[1]))) or f"qrels of split {split}",
        found=f"query {pair[0]!r}, {kind} {pair[1]!r}: grades {one[0]} and {other[0]} ({judgements:,} such judgements)",
        expected="one grade for each pair",
        remedy="keep the judgement that is right and remove the other.",
    )


def _write_qrels(path: Path, judgements: _Judgements, query_ids: Ids, judged: _Judged) -> None:
    """Write the judgements by query and passage; that of a document becomes one for each of its passages."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, QRELS, compression="zstd") as writer:
        for start in range(0, len(judgements.query), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            query, position, grade = judgements.query[rows], judgements.judged[rows], judgements.grade[rows]
            if judged.firsts is None:
                passage, passage_ids = position, judged.ids.texts.take(pa.array(position))
            else:
                counts = judged.firsts[position + 1] - judged.firsts[position]
                query, position, grade = (np.repeat(column, counts) for column in (query, position, grade))
                window = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
                passage = judged.firsts[position] + window
                numbers = pa.array(window).cast(pa.large_string())
                documents = judged.ids.texts.take(pa.array(position))
                passage_ids = pc.binary_join_element_wise(documents, numbers, pa.scalar("#", pa.large_string()))
            columns = [query_ids.texts.take(pa.array(query)), passage_ids, *map(pa.array, (grade, query, passage))]
            arrays = [column.cast(field.type) for column, field in zip(columns, QRELS, strict=True)]
            writer.write_table(pa.table(arrays, schema=QRELS))
