"""Which column holds which field.

The configuration may name the columns. Otherwise well-known names are looked for in the header or among the keys,
ignoring case. In files without a header the position decides:

* passages: id, text | id, title, text | id, url, title, text;
* queries: id, text;
* qrels: query, passage | query, passage, grade | query, iteration, passage, grade.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NoReturn

from hardneg.errors import HardnegError

NOT_GRADES = {"iteration", "iter", "q0", "split"}  # further columns that qrels may have
# How data frames write their row numbers; a column without a name counts only as the first one.
ROW_NUMBERS = {"unnamed: 0", "__index_level_0__", "index", "level_0", "row", "row_number", ""}

# Words that names of columns are made of. A first line of nothing but these is a header.
NAME_WORDS = frozenset(
    {
        "id", "ids", "identifier", "uid", "uuid", "guid", "key", "code", "index", "idx", "number", "num", "no",
        "nr", "name", "docid", "docno", "pid", "qid", "cid", "did", "tid", "doc", "docs", "document",
        "documents", "passage", "passages", "chunk", "chunks", "paragraph", "paragraphs", "para", "section",
        "page", "article", "snippet", "sentence", "text", "texts", "txt", "body", "content", "contents",
        "value", "string", "str", "title", "titles", "heading", "headline", "header", "caption", "abstract",
        "description", "desc", "summary", "topic", "subject", "question", "questions", "query", "queries",
        "answer", "answers", "prompt", "response", "utterance", "input", "output", "source", "target", "url",
        "uri", "link", "href", "lang", "language", "label", "labels", "grade", "score", "relevance", "rel",
        "rank", "corpus", "context", "reference", "positive", "negative", "pos", "neg", "row", "line", "item",
        "entry", "record", "file", "path", "raw", "clean", "full",
    }
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|[0-9]+")
LOOKED_AHEAD = 50  # lines that a first line is compared with
FEWEST = 3  # lines without which nothing can be compared


@dataclass(frozen=True)
class Table:
    """A table of passages, queries or qrels.

    Attributes:
        path: a file, a folder of parts, or a pattern with `*`, `?` or `[...]`.
        columns: for each field the name of its column or key, or its position from 0 in files without a header. Other
            fields are found as the module describes.
        header: whether a text or CSV file has a header. None means: it has one if `columns` gives a name, if all cells
            of the first line are well-known names, or if the necessary fields are among them.
        width: the number of columns of every line. None: as many as in the first line.
    """

    path: Path
    columns: Mapping[str, str | int] = field(default_factory=dict)
    header: bool | None = None
    width: int | None = None


@dataclass(frozen=True)
class Fields:
    """The fields of a kind of record.

    Attributes:
        kind: "passages", "queries" or "qrels".
        names: the well-known column names of each field, in lower case, in order of preference.
        necessary: the fields that every record must have.
        layouts: the fields by position in a file without a header, by the number of columns.
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
    {
        2: ("query", "passage"),
        3: ("query", "passage", "grade"),
        4: ("query", "iteration", "passage", "grade"),
    },
)


def match_columns(
    names: Collection[str], table: Table, fields: Fields, where: str, *, all_given: bool = True
) -> dict[str, str]:
    """The name of each field's column, for the fields that have one.

    Raises:
        HardnegError: a necessary field has no column, or, with `all_given`, a column that `table.columns` names is
            missing, or an unknown column of qrels might hold grades.
    """
    given = given_names(table)
    free = {name.strip().casefold(): name for name in reversed(list(names)) if name not in given.values()}
    found: dict[str, str] = {}
    for name, known in sorted(fields.names.items(), key=lambda item: item[0] not in given):  # the user's names first
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
            missing_column(name, expected, names, fields, where)
    if "grade" in fields.names and "grade" not in found and not isinstance(table.columns.get("grade"), int):
        # Without grades every judgement counts as relevant, so grades under another name must not be missed.
        used = {*found.values(), *(column for column in table.columns.values() if isinstance(column, str))}
        left = [
            name
            for place, name in enumerate(names)
            if name not in used and (folded := name.strip().casefold()) not in NOT_GRADES
            if not (folded in ROW_NUMBERS and (folded or place == 0))
        ]
        if left:
            missing_column("grade", fields.names["grade"], left, fields, where)
    return found


def is_header(cells: Collection[str], table: Table, fields: Fields) -> bool:
    """Whether the first line of a text or CSV file is a header (see `Table.header`)."""
    if table.header is not None:
        return table.header
    if given_names(table):
        return True
    folded = {cell.strip().casefold() for cell in cells}
    known = set(chain.from_iterable(fields.names.values()))
    return folded <= known or all(folded.intersection(fields.names[name]) for name in fields.necessary)


def refuse_unknown_names(lines: Sequence[Sequence[str]], fields: Fields, where: str) -> None:
    """Check that the first line of a file that is read by position is a record, not a header of unknown names.

    It is taken for a header if its cells are made of words that name columns, or if it is unlike all lines after it:
    its id has no digit and theirs have, and its text is one short word and theirs are longer.

    Args:
        lines: the cells of the first lines.
        fields: what the file holds.
        where: the place of the first line.

    Raises:
        HardnegError: it is such a header.
    """
    first, rest = [cell.strip() for cell in lines[0]], lines[1:]
    spoken = [cell for cell in first if cell]  # a data frame's column of row numbers has no name
    named = bool(spoken) and all(map(_names_a_column, spoken))
    if not named and (fields is QRELS or not _unlike(first, rest)):
        return
    names = ", ".join(f"`{name}: ...`" for name in fields.necessary)
    raise HardnegError(
        f"The first line of the {fields.kind} looks like a header, but its names are unknown.",
        where=where,
        found=", ".join(first),
        expected="; ".join(f"{name}: {', '.join(known)}" for name, known in fields.names.items()),
        remedy=f"name the columns in the configuration ({names}), or write `header: false` if it is a record.",
    )


def _names_a_column(cell: str) -> bool:
    words = [word.casefold() for word in _WORDS.findall(cell)]
    return 0 < len(words) <= 4 and len(cell) <= 40 and all(word in NAME_WORDS for word in words)


def _unlike(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    rest = [cells for cells in rest if len(cells) == len(first)]
    if len(rest) < FEWEST or len(first) < 2 or not all(re.fullmatch(r"[^\W\d][\w .-]{0,39}", cell) for cell in first):
        return False
    numbered = not re.search(r"\d", first[0]) and all(re.search(r"\d", cells[0]) for cells in rest)
    return numbered and len(first[-1].split()) == 1 and all(len(cells[-1].strip()) > len(first[-1]) for cells in rest)


def header_columns(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    """The position of each field's column in a file whose first line `cells` names the columns.

    Raises:
        HardnegError: a necessary or given column is missing.
    """
    found = match_columns(cells, table, fields, where)
    return {name: cells.index(column) for name, column in found.items()} | _given_positions(cells, table, fields, where)


def layout_columns(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    """The position of each field's column in a file without a header, whose first line is `cells`.

    Raises:
        HardnegError: the number of columns is not a known layout, or a given position does not exist.
    """
    if table.columns:
        for name in fields.necessary:
            if name not in table.columns:
                missing_column(name, ["a position from 0"], table.columns, fields, where)
        return _given_positions(cells, table, fields, where)
    if len(cells) not in fields.layouts:
        layouts = " or ".join(f"{count}: {' '.join(names)}" for count, names in fields.layouts.items())
        wrong_count(cells, f"{layouts}; or a header", fields, where)
    return {name: index for index, name in enumerate(fields.layouts[len(cells)]) if name in fields.names}


def _given_positions(cells: list[str], table: Table, fields: Fields, where: str) -> dict[str, int]:
    given = {name: column for name, column in table.columns.items() if isinstance(column, int)}
    for name, index in given.items():
        if index >= len(cells):
            wrong_count(cells, f"at least {index + 1}, because `{name}` is at position {index} (from 0)", fields, where)
    return given


def given_names(table: Table) -> dict[str, str]:
    """The columns that the user gave by name, by field."""
    return {name: column for name, column in table.columns.items() if isinstance(column, str)}


def missing_column(
    name: str, expected: Collection[str], names: Collection[str], fields: Fields, where: str
) -> NoReturn:
    """Raise the error for a field whose column is not among `names`."""
    raise HardnegError(
        f"The {fields.kind} have no column or key for `{name}`.",
        where=where,
        found=", ".join(names) or "none",
        expected=" or ".join(expected),
        remedy=f"name it in the configuration (`{name}: ...`), or give its position if there is no header.",
    )


def wrong_count(cells: list[str], expected: str, fields: Fields, where: str) -> NoReturn:
    """Raise the error for a line with the wrong number of columns."""
    remedy = "correct the line, or give the names or positions of the columns in the configuration."
    for mark, name in (("\t", "tabs"), (";", "semicolons"), ("|", "bars"), (",", "commas")):
        if len(cells) == 1 and mark in cells[0]:
            remedy = f"if {name} separate the columns, save the file as .tsv with tabs or as .csv with commas."
            break
    raise HardnegError(
        f"A line of the {fields.kind} has the wrong number of columns.",
        where=where,
        found=f"{len(cells)}: {'<tab>'.join(cells)[:80]!r}",
        expected=expected,
        remedy=remedy,
    )
