"""Convert a collection to the Parquet files that all later stages read, and check it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.data.buckets import Buckets, within
from hardneg.data.collection import CollectionReader, Given
from hardneg.data.copies import (
    BLANK,
    EQUAL_PASSAGES,
    EQUAL_QUERIES,
    OWN_PASSAGES,
    Digests,
    Own,
    PassageDigests,
    copies_among,
    digested,
    digests_of,
    own_passages,
    windows_of,
    write_equal,
    write_pairs,
)
from hardneg.data.given import write_given
from hardneg.data.ids import WHITE_SPACE, Ids
from hardneg.data.lacking import LACKING, write_lacking
from hardneg.data.windows import in_windows, write_documents
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress

# How much is held in memory at once: fewer rows if their texts are long. A row group of a file is as large.
ROWS_AT_ONCE = 2048
CHARACTERS_AT_ONCE = 32_000_000
PAIRS_AT_ONCE = 32_768  # more, since each look at the ids reads all their hashes
T = TypeVar("T")

PASSAGES = pa.schema([(name, pa.string()) for name in ("passage_id", "url", "title", "text")])
WINDOWS = PASSAGES.append(pa.field("document", pa.int32()))
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


def prepare(
    reader: CollectionReader,
    folder: Path,
    splits: Sequence[str],
    train: str | None,
    progress: Path | None = None,
    windows: tuple[int, int] | None = None,
    own: Own = "auto",
) -> tuple[list[str], dict[str, Any]]:
    """Write `passages.parquet`, and `queries.<split>.parquet` and `qrels.<split>.parquet` for each split.

    A row's number is the position of the passage or query in all later stages. Texts are streamed, and what
    is kept of each passage is on disk. Memory holds 8 bytes for each query, and about 100 for each judgement of one
    split.

    Where there is reason to, it also writes the files of `hardneg.data.copies` and of `hardneg.data.lacking`.

    With `windows` the reader gives documents. A passage is then a window of words over a document, named `<id>#0`,
    `<id>#1` and so on, and keeps the document's title and url. The column `document` (int32) of `passages.parquet` is
    the row of its document in `documents.parquet`. Every passage of a judged document gets the document's grade.

    Args:
        reader: the collection.
        folder: where the files go.
        splits: the splits to write.
        train: the training split, if any.
        progress: the file for progress lines.
        windows: the window size and the overlap of neighbouring windows, both in words. None keeps texts whole.
        own: which passages are the query itself, see `hardneg.data.copies.own_passages`; `keep` leaves none out.

    Returns:
        The file names, and facts: counts of passages (and documents), queries, judgements (of documents if these are
        judged), positives, and of what `repairs` reports.

    Raises:
        HardnegError: the collection is empty, ids repeat or are empty, a judgement names an unknown query, all
            judgements of a split name unknown passages, a pair has two grades, the collection lacks a split, or a split
            has no positive judgement of a passage that exists.
        ValueError: the overlap is as large as the window.
    """
    missing = [split for split in splits if split not in reader.splits()]
    if missing:
        raise HardnegError(
            "The collection has no such split.",
            where="splits",
            found=", ".join(missing),
            expected=", ".join(reader.splits()),
            remedy="correct the names under `splits` in the configuration.",
        )
    judged, facts = _passages(reader, folder, windows, progress)
    facts |= {"splits": {}, "own_passages": own, "provenance": reader.provenance()}
    names = [path.name for path in judged.files]
    texts: dict[str, Digests] = {}
    for split in splits:
        written, facts["splits"][split], texts[split] = _split(reader, folder, split, judged, own, train, progress)
        names += written
    _count_shared(facts["splits"], texts, train)
    return names, facts


def _count_shared(counts: Mapping[str, dict[str, int]], texts: Mapping[str, Digests], train: str | None) -> None:
    """Count for each other split how many of its queries have the text of a training query."""
    if train is not None and train in texts:
        for split in [split for split in texts if split != train]:
            asked = texts[split]
            counts[split]["queries_in_train"] = int(np.isin(asked[asked != BLANK], texts[train]).sum())


def _split(
    reader: CollectionReader,
    folder: Path,
    split: str,
    judged: _Judged,
    own: Own,
    train: str | None,
    progress: Path | None,
) -> tuple[list[str], dict[str, int], Digests]:
    """Write the files of a split. Returns their names, the counts, and the digests of the queries' texts."""
    queries, qrels = folder / f"queries.{split}.parquet", folder / f"qrels.{split}.parquet"
    texts = Buckets(2, folder)
    rows = digested(((query.query_id, query.text) for query in reader.queries(split)), slice(1, 2), texts)
    with Progress(f"prepare {split} queries", None, "queries", progress) as bar:
        count, empty = _write_texts(queries, rows, QUERIES, ("text",), bar)
    if count == 0:
        raise HardnegError(
            "A split has no queries.",
            where=f"split {split}",
            found="0 queries",
            remedy="check its queries and judgements. If the split is held out, raise its share.",
        )
    query_ids = Ids(queries, "query_id", folder)
    _check_ids(query_ids, f"{split} queries", partial(_places, reader, split))
    judgements = _judgements(reader, split, query_ids, judged)
    positive = judgements.grade > 0
    if not positive.any():
        raise _no_positive(split, judgements, split == train)
    _write_qrels(qrels, judgements, query_ids, judged)
    lacking = write_lacking(folder / LACKING.format(split=split), judgements.lacking)
    given, given_counts = _write_given(reader, folder, split, judged, judgements, query_ids)
    digests = digests_of(texts, count)
    equal, counts = _write_copies(folder, split, judged, judgements, own, texts, digests, query_ids)
    relevant = np.append(judgements.query[positive], [q for (q, _), grade in judgements.lacking.items() if grade > 0])
    return (
        [queries.name, qrels.name, *(path.name for path in (*lacking, *given, *equal))],
        {
            "queries": count,
            "empty_queries": empty,
            "judgements": len(positive),
            "repeated_judgements": judgements.repeated,
            "positives": int(positive.sum()),
            "queries_without_positives": count - len(np.unique(relevant)),
            "lacking_judgements": len(judgements.lacking),
            "lacking_positives": sum(grade > 0 for grade in judgements.lacking.values()),
            **counts,
            **given_counts,
        },
        digests,
    )


def _no_positive(split: str, judgements: _Judgements, trains: bool) -> HardnegError:
    elsewhere = sum(grade > 0 for grade in judgements.lacking.values())
    further = f"; {elsewhere:,} above it, all of passages that the collection lacks" if elsewhere else ""
    return HardnegError(
        "A split has no positive judgement.",
        where=f"split {split}, from {judgements.where or 'its first judgement'}",
        found=f"{len(judgements.grade)} judgements, none above grade 0{further}",
        remedy="training needs relevant passages: check the qrels of the training split."
        if trains
        else "training and evaluation need relevant passages: check the qrels, or leave the split out.",
    )


def _write_given(
    reader: CollectionReader, folder: Path, split: str, judged: _Judged, judgements: _Judgements, query_ids: Ids
) -> tuple[list[Path], dict[str, int]]:
    """Write the negatives and scores that the collection gives, if it gives any. Returns the files and the counts."""
    given: Iterable[Given] | None = reader.given(split) if hasattr(reader, "given") else None
    first = next(iter(given := iter(given)), None) if given is not None else None
    if given is None or first is None:
        return [], {}
    relevant = judgements.grade > 0
    keys = judgements.query[relevant].astype(np.int64) * len(judged.ids) + judgements.judged[relevant]
    groups = in_groups(chain([first], given), PAIRS_AT_ONCE)
    return write_given(folder, split, groups, query_ids, judged.ids, keys, judged.firsts)


def _write_copies(
    folder: Path,
    split: str,
    judged: _Judged,
    judgements: _Judgements,
    own: Own,
    texts: Buckets,
    digests: Digests,
    query_ids: Ids,
) -> tuple[list[Path], dict[str, int]]:
    """Write what equal texts mean for a split, and count it."""
    copy, first = copies_among(texts)
    files = write_equal(folder / EQUAL_QUERIES.format(split=split), "query", copy, first)
    query, unit = own_passages(own, digests, query_ids, judged.holders, judged.ids)
    relevant = judgements.grade > 0
    width = len(judged.ids)
    keys = judgements.query[relevant].astype(np.int64) * width + judgements.judged[relevant]
    unjudged = ~np.isin(query * width + unit, keys)
    query, unit = query[unjudged], unit[unjudged]
    if own != "keep":
        asked, passage = windows_of(judged.firsts, query, unit) if judged.firsts is not None else (query, unit)
        files += write_pairs(folder / OWN_PASSAGES.format(split=split), {"query": asked, "passage": passage})
    return files, {"equal_queries": len(copy), "own_passages": len(np.unique(query))}


def repairs(facts: Mapping[str, Any]) -> Iterator[str]:
    """Irregularities that were tolerated in a collection, one line each, to be reported once."""
    for name, line in facts["provenance"].get("told", {}).items():
        yield f"{name}: {line}"
    if count := facts["empty_passages"]:
        yield f"passages without title and text: {count:,} (kept, but hardly ever retrieved)"
    if count := facts["equal_passages"]:
        yield f"passages with the text of an earlier one: {count:,} (kept; no negatives where one of them is relevant)"
    for split, counts in facts["splits"].items():
        if count := counts["empty_queries"]:
            yield f"{split} queries without text: {count:,} (kept)"
        if count := counts["repeated_judgements"]:
            yield f"{split} judgements that repeat an earlier one: {count:,} (counted once)"
        if count := counts["queries_without_positives"]:
            yield f"{split} queries without a relevant passage: {count:,} (kept)"
        if count := counts["lacking_judgements"]:
            yield (
                f"{split} judgements of passages that the collection lacks: {count:,}, {counts['lacking_positives']:,} "
                "of them relevant (scored as never found, as trec_eval does; not trained on)"
            )
        if count := counts["equal_queries"]:
            yield f"{split} queries with the text of an earlier one: {count:,} (kept; they share positives)"
        if count := counts.get("given_negatives_relevant", 0):
            yield f"{split} given negatives that are relevant to their query: {count:,} (no negatives)"
        if count := counts["own_passages"]:
            done = "left out of runs and never a negative" if facts["own_passages"] != "keep" else "kept as any other"
            yield f"{split} queries that are a passage themselves: {count:,} (that passage is {done}; own_passages)"
        if count := counts.get("queries_in_train", 0):
            yield f"{split} queries with the text of a training query: {count:,} (kept; they make scores look better)"


class _Judged(NamedTuple):
    """The judged units: passages, or the documents they were cut from.

    Attributes:
        kind: passage or document.
        ids: their ids, by position.
        firsts: int64 [documents + 1], the first passage of each document; None where passages are judged.
        files: the files written.
        holders: digests and positions of their texts, with title and without.
    """

    kind: str
    ids: Ids
    firsts: npt.NDArray[np.int64] | None
    files: list[Path]
    holders: tuple[Buckets, Buckets]


class _Judgements(NamedTuple):
    """The judgements of a split, each pair once, sorted by query and then by passage (or document).

    Attributes:
        query: int32 [m], query positions.
        judged: int32 [m], passage (or document) positions.
        grade: int32 [m].
        repeated: how many duplicates were dropped.
        where: the file and line of the first judgement.
        lacking: the grades of judged passages (or documents) that do not exist, by query position and id.
    """

    query: npt.NDArray[np.int32]
    judged: npt.NDArray[np.int32]
    grade: npt.NDArray[np.int32]
    repeated: int
    where: str
    lacking: dict[tuple[int, str], int]


def _passages(
    reader: CollectionReader, folder: Path, windows: tuple[int, int] | None, progress: Path | None
) -> tuple[_Judged, dict[str, Any]]:
    """Write the passages, and the documents if they are cut into windows. Returns the judged units and the counts."""
    passages, documents = folder / "passages.parquet", folder / "documents.parquet"

    def places(wanted: str) -> Iterator[str]:
        return (passage.where for passage in reader.passages() if passage.passage_id == wanted)

    rows: Iterable[tuple[Any, ...]]
    seen = PassageDigests(folder)
    given, whole = seen.passing(reader.passages()), seen.whole
    if windows is None:
        rows, schema = ((p.passage_id, p.url, p.title, p.text) for p in given), PASSAGES
    else:
        whole = Buckets(2, folder)
        rows, schema = digested(in_windows(given, *windows), slice(2, 4), whole), WINDOWS
    with Progress("prepare passages", None, "passages", progress) as bar:
        count, empty = _write_texts(passages, rows, schema, ("title", "text"), bar)
    if count == 0:
        raise HardnegError(
            "The collection has no passages.",
            where="collection",
            found="0 passages",
            remedy="check the collection's files.",
        )
    copy, first = copies_among(whole)
    equal = write_equal(folder / EQUAL_PASSAGES, "passage", copy, first)
    facts = {"passages": count, "empty_passages": empty, "equal_passages": len(copy)}
    holders = seen.whole, seen.bodies
    if windows is None:
        ids = Ids(passages, "passage_id", folder)
        _check_ids(ids, "passages", places)
        return _Judged("passage", ids, None, [passages, *equal], holders), facts
    firsts = write_documents(passages, documents)
    ids = Ids(documents, "document_id", folder)
    _check_ids(ids, "documents", places)
    files = [passages, documents, *equal]
    return _Judged("document", ids, firsts, files, holders), facts | {"documents": len(ids)}


def _write_texts(
    path: Path, rows: Iterable[tuple[Any, ...]], schema: pa.Schema, texts: Sequence[str], bar: Progress
) -> tuple[int, int]:
    """Stream rows into Parquet. Returns the number of rows, and of rows whose columns `texts` are all blank."""
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
    """Consecutive groups of at most `size` rows and a total weight of at most `heaviest`. One row may weigh more."""
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
    """The files and lines of a query's records."""
    return (query.where for query in reader.queries(split) if query.query_id == query_id)


def _check_ids(ids: Ids, what: str, places: Callable[[str], Iterable[str]]) -> None:
    """Refuse ids that repeat, are empty or have white space. `places` finds the files and lines of an id."""
    if len(repeated := ids.repeated()):
        examples = [value.as_py() for value in repeated.field("values")[:3]]
        first_two = [place for place in islice(places(examples[0]), 2) if place]
        raise HardnegError(
            f"The {what} have duplicate ids.",
            where=" and ".join(first_two) or what,
            found=f"{', '.join(map(repr, examples))} ({len(repeated):,} in all)",
            expected="unique ids",
            remedy="remove or rename the duplicates.",
        )
    if (row := int(ids.positions([""])[0])) >= 0:
        raise HardnegError("An id is empty.", where=f"{what}, number {row + 1}", found="''", remedy="give it an id.")
    example, count = "", 0
    for texts in ids:
        spaced = texts.filter(pc.match_substring_regex(texts, WHITE_SPACE))
        example = example or (spaced[0].as_py() if len(spaced) else "")
        count += len(spaced)
    if count:
        raise HardnegError(
            f"The {what} have ids with white space, which TREC runs do not allow.",
            where=next((place for place in places(example) if place), what),
            found=f"{example!r} ({count:,} in all)",
            expected="ids without white space",
            remedy="replace it, for instance by _, here and in the judgements.",
        )


def _judgements(reader: CollectionReader, split: str, query_ids: Ids, judged: _Judged) -> _Judgements:
    """Read the judgements of a split as positions, and check them."""
    parts = [np.zeros((3, 0), np.int32)]
    unknown: dict[str, tuple[str, str, int]] = {}  # by kind: where the first unknown id is, that id, how many
    lacking: dict[tuple[int, str], int] = {}
    where, seen, repeated = "", 0, 0
    for group in in_groups(reader.judgements(split), PAIRS_AT_ONCE):
        wanted = {"query": [j.query_id for j in group], judged.kind: [j.passage_id for j in group]}
        found = {"query": query_ids.positions(wanted["query"]), judged.kind: judged.ids.positions(wanted[judged.kind])}
        for kind, positions in found.items():
            if len(absent := np.flatnonzero(positions < 0)):
                row = int(absent[0])
                place = group[row].where or f"qrels of split {split}, number {seen + row + 1}"
                first = unknown.get(kind, (place, wanted[kind][row], 0))
                unknown[kind] = (*first[:2], first[2] + len(absent))
        for row in np.flatnonzero((found[judged.kind] < 0) & (found["query"] >= 0)).tolist():
            absent_one = group[row]
            key = int(found["query"][row]), absent_one.passage_id
            if lacking.setdefault(key, absent_one.grade) != absent_one.grade:
                raise _two_grades(reader, split, judged.kind, (absent_one.query_id, absent_one.passage_id), 1)
            repeated += 1
        known = found[judged.kind] >= 0
        parts.append(np.array([*found.values(), [j.grade for j in group]], np.int32)[:, known])
        where = where or group[0].where
        seen += len(group)
    repeated -= len(lacking)
    for kind in ("query", judged.kind):
        if kind in unknown and (kind == "query" or unknown[kind][2] == seen):
            place, name, count = unknown[kind]
            raise HardnegError(
                f"A judgement names a {kind} that does not exist.",
                where=place,
                found=f"{kind} {name!r} ({count:,} such judgements{', all of them' if count == seen else ''})",
                expected=f"an id of the {kind} file",
                remedy=f"add the {kind} or remove the judgement.",
            )
    query, position, grade = np.concatenate(parts, axis=1)
    order = np.lexsort((position, query))
    query, position, grade = query[order], position[order], grade[order]
    again = (np.diff(query, prepend=-1) == 0) & (np.diff(position, prepend=-1) == 0)
    conflicts = np.flatnonzero(again & (np.diff(grade, prepend=0) != 0))
    if len(conflicts):
        row = int(conflicts[0])
        pair = query_ids.take([query[row]])[0].as_py(), judged.ids.take([position[row]])[0].as_py()
        raise _two_grades(reader, split, judged.kind, pair, len(conflicts))
    repeated += int(again.sum())
    return _Judgements(query[~again], position[~again], grade[~again], repeated, where, lacking)


def _two_grades(
    reader: CollectionReader, split: str, kind: str, pair: tuple[str, str], judgements: int
) -> HardnegError:
    """The error for a pair with two grades. It names where the first two of them are."""
    first: dict[int, str] = {}
    for judgement in reader.judgements(split):
        if (judgement.query_id, judgement.passage_id) == pair:
            first.setdefault(judgement.grade, judgement.where)
    one, other = islice(first.items(), 2)
    return HardnegError(
        f"A query and a {kind} are judged with different grades.",
        where=" and ".join(filter(None, (one[1], other[1]))) or f"qrels of split {split}",
        found=f"query {pair[0]!r}, {kind} {pair[1]!r}: grades {one[0]} and {other[0]} ({judgements:,} such judgements)",
        expected="one grade per pair",
        remedy="keep the correct judgement and remove the other.",
    )


def _write_qrels(path: Path, judgements: _Judgements, query_ids: Ids, judged: _Judged) -> None:
    """Write the judgements by query and passage. A judged document gives one row for each of its passages."""
    names = query_ids.take(judgements.query), judged.ids.take(judgements.judged)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, QRELS, compression="zstd") as writer:
        for start in range(0, len(judgements.query), PAIRS_AT_ONCE):
            rows = slice(start, start + PAIRS_AT_ONCE)
            query, position, grade = judgements.query[rows], judgements.judged[rows], judgements.grade[rows]
            query_names, passage_names = (each[rows] for each in names)
            passage = position
            if judged.firsts is not None:
                counts = judged.firsts[position + 1] - judged.firsts[position]
                each = pa.array(np.repeat(np.arange(len(position)), counts))
                window = within(counts)
                passage = np.repeat(judged.firsts[position], counts) + window
                numbers = pa.array(window).cast(pa.large_string())
                documents = passage_names.take(each)
                passage_names = pc.binary_join_element_wise(documents, numbers, pa.scalar("#", pa.large_string()))
                query_names = query_names.take(each)
                query, grade = np.repeat(query, counts), np.repeat(grade, counts)
            columns = [query_names, passage_names, *map(pa.array, (grade, query, passage))]
            arrays = [column.cast(field.type) for column, field in zip(columns, QRELS, strict=True)]
            writer.write_table(pa.table(arrays, schema=QRELS))
