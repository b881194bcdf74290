"""Plain files with columns: JSON Lines, tab-separated text, CSV, Parquet, in whatever columns they come.

A name ending in .jsonl or .ndjson holds a JSON object a line, .tsv or .txt columns between tabs (quotes mean nothing
there), .csv columns as RFC 4180 says, .parquet a table; all but the last may be packed as `.gz`. Queries and qrels
under other names are read as text. Columns are found by the names given for them, else by well-known names in the
header or among the keys, whatever their case, else by position:

* passages: id, text | id, title, text | id, url, title, text;
* queries: id, text, or TREC topics;
* qrels: query, passage | query, passage, grade | query, iteration, passage, grade (any white space in text files).

A table may lie in several files: a folder of parts or a pattern such as `parts/*.parquet`, read in sorted order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NoReturn

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.formats import trec
from hardneg.data.lines import grade_of, id_of, json_lines, lines, raw_lines, valid_text
from hardneg.errors import HardnegError, nearest
from hardneg.stages.artifacts import file_digest

KINDS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".tsv": "tabs",
    ".txt": "tabs",
    ".csv": "csv",
    ".parquet": "parquet",
}
LONGEST_CELL = 1 << 24  # characters; a quote never closed would otherwise swallow the rest of a CSV file
ROWS_AT_ONCE = 1_000  # of a Parquet file


@dataclass(frozen=True)
class Table:
    """Where the records of one kind lie.

    Attributes:
        path: a file, a folder of parts, or a pattern with `*`, `?` or `[...]`.
        columns: for each field the name of its column or key, or in files without names its position from 0; fields
            not mentioned are found as the module says.
        header: whether the first line of a text or CSV file names the columns. None: it does when a column is given by
            name, when all its cells are well-known names, or when those of all necessary fields are among them.
        width: how many columns each line must have; None: as many as the first.
    """

    path: Path
    columns: Mapping[str, str | int] = field(default_factory=dict)
    header: bool | None = None
    width: int | None = None


@dataclass(frozen=True)
class Fields:
    """What a kind of record consists of.

    Attributes:
        kind: "passages", "queries" or "qrels".
        names: of each field the well-known names, in lower case, the best first.
        necessary: fields that every record has.
        layouts: for each number of columns the fields that a line without header holds.
    """

    kind: str
    names: Mapping[str, tuple[str, ...]]
    necessary: tuple[str, str]
    layouts: Mapping[int, tuple[str, ...]]


PASSAGES = Fields(
    "passages",
    {
        "id": ("_id", "id", "docid", "doc_id", "pid", "passage_id", "docno"),
        "title": ("title",),
        "url": ("url",),
        "text": ("text", "body", "contents", "passage", "content"),
    },
    ("id", "text"),
    {2: ("id", "text"), 3: ("id", "title", "text"), 4: ("id", "url", "title", "text")},
)
QUERIES = Fields(
    "queries",
    {"id": ("_id", "id", "qid", "query_id", "topic"), "text": ("text", "query", "question", "title")},
    ("id", "text"),
    {2: ("id", "text")},
)
QRELS = Fields(
    "qrels",
    {
        "query": ("query-id", "query_id", "qid", "query", "topic", "topic_id"),
        "passage": ("corpus-id", "passage_id", "docid", "doc_id", "pid", "passage", "document_id", "document", "docno"),
        "grade": ("score", "grade", "relevance", "rel", "label"),
    },
    ("query", "passage"),
    trec.QRELS_COLUMNS,
)


WHOLE = re.compile(r"(?<=[0-9])\.0*$")
NOT_GRADES = {"iteration", "iter", "q0", "split"}
"""Further columns that qrels may have."""


def parts(path: Path) -> dict[str, Path]:
    """The files of a table, sorted, by their names in the folder or below the part of a pattern that is fixed.

    Raises:
        HardnegError: there is none.
    """
    if path.is_file():
        return {path.name: path}
    if path.is_dir():
        base = path
        found = [part for part in path.iterdir() if part.is_file() and not part.name.startswith((".", "_"))]
    else:
        base = Path(*takewhile(lambda name: not set("*?[") & set(name), path.parts))
        found = [] if base == path else [part for part in base.glob(str(path.relative_to(base))) if part.is_file()]
    if not found:
        folder = next((above for above in (path, *path.parents) if above.is_dir()), Path())
        there = sorted(item.name for item in folder.iterdir())
        guess = nearest(path.name, there)
        raise HardnegError(
            "A file of the collection is missing.",
            where=str(path),
            found=f"in {folder}: {', '.join(there[:20]) or 'nothing'}{', ...' if len(there) > 20 else ''}",
            expected="a file, a folder with files, or a pattern that some file matches",
            remedy=f"put it there, or correct the path{f': {guess}?' if guess else ' in the configuration.'}",
        )
    return {part.relative_to(base).as_posix(): part for part in sorted(found)}


def kind_of(table: Table, fields: Fields) -> str:
    """How the files of a table are read, by the ending of their names: "json", "tabs", "csv" or "parquet".

    Raises:
        HardnegError: an unknown ending of a file of passages, a packed Parquet file, or parts of several kinds.
    """
    kinds: dict[str, Path] = {}
    for path in parts(table.path).values():
        ending = Path(path.name.removesuffix(".gz")).suffix.lower()
        # TREC's queries and qrels have all kinds of names, such as qrels.robust04.
        kind = KINDS.get(ending, None if fields is PASSAGES else "tabs")
        if kind is None or (kind == "parquet" and path.suffix == ".gz"):
            raise HardnegError(
                "The name of a file does not say how to read it.",
                where=str(path),
                found=path.name,
                expected=f"{', '.join(KINDS)}; all but .parquet also with .gz",
                remedy="convert, unpack or rename the file, or name the parts with a pattern such as parts/*.jsonl.",
            )
        kinds[kind] = path
    if len(kinds) > 1:
        raise HardnegError(
            "The parts of a table are of several kinds.",
            where=str(table.path),
            found=", ".join(path.name for path in kinds.values()),
            expected="parts of one kind",
            remedy="name the parts with a pattern such as parts/*.jsonl.",
        )
    return next(iter(kinds))


def check(table: Table, fields: Fields) -> None:
    """Refuse what is wrong with a table before its records are read.

    Raises:
        HardnegError: no file is there, its kind is unknown, or `columns` cannot be what is meant.
    """
    kind, where = kind_of(table, fields), f"{fields.kind}, {table.path}"
    for name, column in table.columns.items():
        if name not in fields.names:
            guess = nearest(name, fields.names)
            raise HardnegError(
                f"There is no such field of {fields.kind}.",
                where=where,
                found=name,
                expected=", ".join(fields.names),
                remedy=f"write {guess}." if guess else "correct or remove it.",
            )
        by_name = isinstance(column, str)
        if kind in ("json", "parquet"):
            usable, expected = by_name, "a name"
        elif by_name:
            usable, expected = table.header is not False, "a position from 0, since the file has no header"
        else:
            usable, expected = int(column) >= 0, "a name, or a position from 0"
        if usable:
            continue
        raise HardnegError(
            f"A column of the {fields.kind} cannot be found like this.",
            where=where,
            found=f"{name}: {column}",
            expected=expected,
            remedy="correct it.",
        )


def records(table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """The values of each record by field, as the file has them, after its place; absent fields are left out.

    Raises:
        HardnegError: a file or line that cannot be read, a missing column, or a wrong number of columns.
    """
    kind, paths = kind_of(table, fields), parts(table.path).values()
    if kind == "json":
        yield from _json_records(paths, table, fields)
        return
    for path in paths:
        if kind == "parquet":
            yield from _parquet_records(path, table, fields)
        else:
            rows = _csv_rows(path) if kind == "csv" else _tab_rows(path, fields)
            yield from _cell_records(rows, table, fields)


def match_columns(
    names: Collection[str], table: Table, fields: Fields, where: str, *, all_given: bool = True
) -> dict[str, str]:
    """The name of each field's column, where it has one.

    A necessary field must be found, and with `all_given` every field that `columns` gives a name.
    """
    given = _given_names(table)
    free = {name.strip().casefold(): name for name in reversed(list(names)) if name not in given.values()}
    found: dict[str, str] = {}
    for name, known in sorted(fields.names.items(), key=lambda item: item[0] not in given):  # what the user named first
        if isinstance(table.columns.get(name), int):
            continue
        expected = [given[name]] if name in given else known
        if name in given:
            column = given[name] if given[name] in names else None
        else:
            column = next((free[each] for each in known if each in free), None)
        if column is not None:
            found[name] = column
        elif name in fields.necessary or (name in given and all_given):
            _missing_column(name, expected, names, fields, where)
    if "grade" in fields.names and "grade" not in found and not isinstance(table.columns.get("grade"), int):
        # Without grades every judgement counts as relevant, so that one under another name must not go unseen.
        used = {*found.values(), *(column for column in table.columns.values() if isinstance(column, str))}
        left = [name for name in names if name not in used and name.strip().casefold() not in NOT_GRADES]
        if left:
            _missing_column("grade", fields.names["grade"], left, fields, where)
    return found


def _given_names(table: Table) -> dict[str, str]:
    return {name: column for name, column in table.columns.items() if isinstance(column, str)}


def _missing_column(
    name: str, expected: Collection[str], names: Collection[str], fields: Fields, where: str
) -> NoReturn:
    raise HardnegError(
        f"The {fields.kind} have no column or key for the {name}.",
        where=where,
        found=", ".join(names) or "none",
        expected=" or ".join(expected),
        remedy=f"name the one that holds it in the configuration (`{name}: ...`); without a header, give its position.",
    )


def _json_records(paths: Iterable[Path], table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    given = _given_names(table)
    unseen = set(given.values())
    keys: tuple[str, ...] | None = None
    where, found = "", {}
    for path in paths:
        for where, record in json_lines(path):
            if keys != (present := tuple(record)):  # nearly always those of the record before
                keys, found = present, match_columns(present, table, fields, where, all_given=False)
                unseen.difference_update(present)
            yield where, {name: record[key] for name, key in found.items()}
    for name, column in given.items():
        if where and column in unseen:
            _missing_column(name, [column], keys or (), fields, f"{table.path}, in every record")


def _parquet_records(path: Path, table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa  # here, so that a plan that only names files starts without it
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            found = match_columns(file.schema_arrow.names, table, fields, str(path))
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(found.values()), use_threads=False):
                columns = [batch.column(column).to_pylist() for column in found.values()]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield f"{path}, row {number}", dict(zip(found, values, strict=True))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
        raise HardnegError(
            "A Parquet file cannot be read.",
            where=f"{path}, after row {number}",
            found=str(fault),
            remedy="check its permissions, or get the file again if it is damaged or cut short.",
        ) from None


def _tab_rows(path: Path, fields: Fields) -> Iterator[tuple[str, list[str]]]:
    for where, line in lines(path):
        yield where, line.split() if fields is QRELS and "\t" not in line else line.split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line for _, line in raw_lines(path)), strict=True)
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as fault:
            raise HardnegError(
                "A record is not valid CSV.",
                where=where,
                found=str(fault),
                expected=f"quotes that are closed, doubled inside, and at most {LONGEST_CELL:,} characters a cell",
                remedy="mend the record that starts there.",
            ) from None
        if cells is None:
            return
        if any(map(str.strip, cells)):
            yield where, cells


def is_header(cells: Collection[str], table: Table, fields: Fields) -> bool:
    """Whether the first line of a text or CSV file names its columns, as `Table.header` says."""
    if table.header is not None:
        return table.header
    if _given_names(table):
        return True
    folded = {cell.strip().casefold() for cell in cells}
    known = set(chain.from_iterable(fields.names.values()))
    return folded <= known or all(folded.intersection(fields.names[name]) for name in fields.necessary)


def _cell_records(
    rows: Iterator[tuple[str, list[str]]], table: Table, fields: Fields
) -> Iterator[tuple[str, dict[str, Any]]]:
    place, first = next(rows, ("", []))
    if not first:
        return
    header = is_header(first, table, fields)
    at = _header_columns(first, table, fields, place) if header else _positions(first, table, fields, place)
    width = table.width or len(first)
    for where, cells in chain([(place, first)], rows):
        if len(cells) != width:
            _wrong_count(cells, str(width) if table.width else f"{width}, as in the first line", fields, where)
        if header:
            header = False
        else:
            yield where, {name: cells[index] for name, index in at.items()}


def _header_columns(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    found = match_columns(cells, table, fields, where)
    return {name: cells.index(column) for name, column in found.items()} | _given_positions(cells, table, fields, where)


def _given_positions(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    given = {name: column for name, column in table.columns.items() if isinstance(column, int)}
    for name, index in given.items():
        if index >= len(cells):
            _wrong_count(
                cells, f"at least {index + 1}, since {name} is said to be at {index}, counted from 0", fields, where
            )
    return given


def _positions(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    if table.columns:
        for name in fields.necessary:
            if name not in table.columns:
                _missing_column(name, ["a position from 0"], table.columns, fields, where)
        return _given_positions(cells, table, fields, where)
    if len(cells) not in fields.layouts:
        layouts = " or ".join(f"{count}: {' '.join(names)}" for count, names in fields.layouts.items())
        _wrong_count(cells, f"{layouts}; or a header", fields, where)
    return {name: index for index, name in enumerate(fields.layouts[len(cells)]) if name in fields.names}


def _wrong_count(cells: list[str], expected: str, fields: Fields, where: str) -> NoReturn:
    raise HardnegError(
        f"A line of the {fields.kind} has a wrong number of columns.",
        where=where,
        found=f"{len(cells)}: {'<tab>'.join(cells)[:80]!r}",
        expected=expected,
        remedy="correct the line, or name the columns, or their positions, in the configuration.",
    )


def passage_of(record: Mapping[str, Any], where: str) -> Passage:
    """A passage from the values of its fields.

    Raises:
        HardnegError: the id is missing or empty, or a value is no text.
    """
    return Passage(
        id_of(record["id"], "passage id", where),
        text_or_empty(record.get("title"), "title", where),
        text_or_empty(record["text"], "text", where),
        where,
        url=text_or_empty(record.get("url"), "url", where),
    )


def query_of(record: Mapping[str, Any], where: str) -> Query:
    """A query from the values of its fields.

    Raises:
        HardnegError: the id is missing or empty, or the text is none.
    """
    return Query(id_of(record["id"], "query id", where), text_or_empty(record["text"], "text", where), where)


def judgement_of(record: Mapping[str, Any], where: str) -> Judgement:
    """A judgement from the values of its fields; of grade 1 where there are no grades.

    Raises:
        HardnegError: an id is missing or empty, or the grade is no whole number.
    """
    query, passage = id_of(record["query"], "query id", where), id_of(record["passage"], "passage id", where)
    return Judgement(query, passage, whole_grade(record.get("grade", 1), where), where)


def text_or_empty(value: Any, name: str, where: str) -> str:
    """The text of a field; nothing where there is no value.

    Raises:
        HardnegError: the value is no text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return valid_text(value, name, where)
    raise HardnegError(
        f"The value of `{name}` cannot be used.",
        where=where,
        found=repr(value)[:80],
        expected="text",
        remedy="correct the value.",
    )


def whole_grade(value: Any, where: str) -> int:
    """A grade that may come as text, as an integer or as a float without a fraction.

    Raises:
        HardnegError: it is no whole number.
    """
    if isinstance(value, float) and value.is_integer():
        return grade_of(str(int(value)), where)
    return grade_of(WHOLE.sub("", str(value).strip()), where)  # 1.0 is what many programs write of a whole number


def _as_trec(table: Table, fields: Fields) -> bool:
    """Whether a table is text without header whose columns nobody named: what TREC's files are."""
    if kind_of(table, fields) != "tabs" or table.columns or table.header or table.width:
        return False
    rows = _tab_rows(next(iter(parts(table.path).values())), fields)
    _, first = next(rows, ("", [""]))
    return not is_header(first, table, fields)


class Files:
    """Reads passages, queries and qrels from tables; a `CollectionReader`.

    The queries of a split are those its qrels judge, in the order of their file, so that one file can serve several
    splits; the ids of the judged queries are held in memory.

    Args:
        passages: fields id and text, perhaps title and url.
        splits: for each split its queries (fields id and text) and its qrels (fields query and passage, perhaps grade,
            which is 1 where there is none).

    Raises:
        HardnegError: a file is missing or of no known kind, or `columns` names what cannot be.
    """

    def __init__(self, passages: Table, splits: Mapping[str, tuple[Table, Table]]) -> None:
        self._passages, self._splits = passages, dict(splits)
        check(passages, PASSAGES)
        for queries, qrels in self._splits.values():
            check(queries, QUERIES)
            check(qrels, QRELS)

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order given."""
        return tuple(self._splits)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that some splits are read from: `passages/...`, `queries.<split>/...` and `qrels.<split>/...`.

        Raises:
            HardnegError: there is no such split, or a file has gone.
        """
        tables = {"passages": self._passages}
        for split in splits:
            tables[f"queries.{split}"], tables[f"qrels.{split}"] = self._split(split)
        return {f"{role}/{name}": path for role, table in tables.items() for name, path in parts(table.path).items()}

    def _split(self, split: str) -> tuple[Table, Table]:
        if split not in self._splits:
            raise self._no_split(split)
        return self._splits[split]

    def _no_split(self, split: str) -> HardnegError:
        return HardnegError(
            "The collection has no such split.",
            where="splits",
            found=split,
            expected=", ".join(self._splits) or "none: the collection has no splits",
            remedy="give its queries and qrels, or name other splits under `splits`.",
        )

    def passages(self) -> Iterator[Passage]:
        """Every passage, in the order of the files.

        Raises:
            HardnegError: as `records`, an id is missing or empty, a value is no text, or there is no passage at all.
        """
        where = ""
        for where, record in records(self._passages, PASSAGES):
            yield passage_of(record, where)
        if not where:
            raise HardnegError(
                "The collection has no passages.",
                where=str(self._passages.path),
                found="no record of a passage",
                remedy="put the passages there, or correct the path.",
            )

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in the order of their file.

        Raises:
            HardnegError: as `records`, an id is missing or empty, a value is no text, or a judged query is missing.
        """
        file = self._split(split)[0].path
        return judged_queries(self._all_queries(split), partial(self.judgements, split), file)

    def _all_queries(self, split: str) -> Iterator[Query]:
        table, _ = self._split(split)
        if _as_trec(table, QUERIES):
            for path in parts(table.path).values():
                yield from trec.topics(path)
        else:
            for where, record in records(table, QUERIES):
                yield query_of(record, where)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in the order of its qrels.

        Raises:
            HardnegError: as `records`, an id is missing or empty, or a grade is no whole number.
        """
        _, table = self._split(split)
        if _as_trec(table, QRELS):
            for path in parts(table.path).values():
                yield from trec.qrels(path)
        else:
            for where, record in records(table, QRELS):
                yield judgement_of(record, where)

    def provenance(self) -> dict[str, Any]:
        """Size and SHA-256 of each file, and for each split how many queries were left out because none judges them."""
        facts: dict[Path, dict[str, Any]] = {}
        files = self.files(self._splits)
        for path in files.values():
            if path not in facts:  # one file of queries may serve several splits
                facts[path] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        return {
            "files": {name: facts[path] for name, path in files.items()},
            "queries_without_judgements": {split: self._left_out(split) for split in self._splits},
        }

    def _left_out(self, split: str) -> int:
        judged = {judgement.query_id for judgement in self.judgements(split)}
        return sum(query.query_id not in judged for query in self._all_queries(split))
