"""The records of a table: JSON Lines, tab-separated text, CSV, Parquet or marked-up text, in one file or several."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from hardneg.data.columns import (
    LOOKED_AHEAD,
    PASSAGES,
    QRELS,
    Fields,
    Table,
    given_names,
    header_columns,
    is_header,
    layout_columns,
    match_columns,
    missing_column,
    refuse_unknown_names,
    wrong_count,
)
from hardneg.data.formats.markup import MARKED_UP, marked_up
from hardneg.data.forms import KINDS, NAMES, content_kind, named_kind
from hardneg.data.lines import compression_told, json_lines, lines, raw_lines
from hardneg.errors import HardnegError, nearest

LONGEST_CELL = 1 << 24  # characters; an unclosed quote would otherwise swallow the rest of a CSV file
ROWS_AT_ONCE = 1_000  # of a Parquet file


def parts(path: Path) -> dict[str, Path]:
    """The files of a table, sorted, by their path below the folder or below the fixed part of the pattern.

    Raises:
        HardnegError: there is no file.
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
        present = sorted(item.name for item in folder.iterdir())
        guess = nearest(path.name, present)
        raise HardnegError(
            "A file of the collection is missing.",
            where=str(path),
            found=f"in {folder}: {', '.join(present[:20]) or 'nothing'}{', ...' if len(present) > 20 else ''}",
            expected="a file, a folder with files, or a pattern that matches a file",
            remedy=f"put it there, or correct the path{f': {guess}?' if guess else ' in the configuration.'}",
        )
    return {part.relative_to(base).as_posix(): part for part in sorted(found)}


def kind_of(table: Table, fields: Fields) -> str:
    """The kind of a table's files: a key of `hardneg.data.forms.NAMES`. Their content decides before their names.

    Raises:
        HardnegError: the kind is unknown or cannot hold such records, or the parts differ in kind.
    """
    kinds: dict[str, Path] = {}
    for path in parts(table.path).values():
        try:
            kind = content_kind(path)
        except OSError as fault:
            raise HardnegError(
                "A file of the collection cannot be read.",
                where=str(path),
                found=str(fault),
                remedy="check its permissions.",
            ) from None
        named = named_kind(path)
        if kind is None and named == "parquet":
            kind = named if path.suffix != ".gz" else None
        elif kind is None:
            # TREC queries and qrels have arbitrary names, such as qrels.robust04.
            kind = named or (None if fields is PASSAGES else "tabs")
        if kind is None:
            raise HardnegError(
                "A file has an unknown extension.",
                where=str(path),
                found=path.name,
                expected=f"{', '.join(KINDS)}; all but .parquet also as .gz",
                remedy="convert or rename the file, or select the parts with a pattern such as parts/*.jsonl.",
            )
        if kind in MARKED_UP and fields.kind not in MARKED_UP[kind]:
            raise HardnegError(
                f"A file of {fields.kind} holds something else.",
                where=str(path),
                found=NAMES[kind],
                expected=f"{fields.kind}, as {', '.join(KINDS)}",
                remedy="correct the path, or convert the file.",
            )
        kinds[kind] = path
    if len(kinds) > 1:
        raise HardnegError(
            "The parts of a table have different formats.",
            where=str(table.path),
            found=", ".join(f"{path.name} ({NAMES[kind]})" for kind, path in kinds.items()),
            expected="parts in one format",
            remedy="select the parts with a pattern such as parts/*.jsonl.",
        )
    return next(iter(kinds))


def told(table: Table, fields: Fields) -> dict[str, str]:
    """What is to be told of a table's files, by their path in the table: those whose names say something else."""
    lines: dict[str, str] = {}
    for name, path in parts(table.path).items():
        kind, named = kind_of(replace(table, path=path), fields), named_kind(path)
        packed = compression_told(path) if kind != "parquet" else None
        usual = kind == named or (named is None and kind == "tabs") or (kind in MARKED_UP and named in (None, "tabs"))
        other = None if usual else f"read as {NAMES[kind]}"
        if packed or other:
            lines[name] = "; ".join(filter(None, (other, packed)))
    return lines


def check(table: Table, fields: Fields) -> None:
    """Check a table before its records are read.

    Raises:
        HardnegError: no file exists, its kind is unknown, or `columns` cannot be right.
    """
    kind, where = kind_of(table, fields), f"{fields.kind}, {table.path}"
    for name, column in table.columns.items():
        if name not in fields.names:
            guess = nearest(name, fields.names)
            raise HardnegError(
                f"{fields.kind.capitalize()} have no such field.",
                where=where,
                found=name,
                expected=", ".join(fields.names),
                remedy=f"write {guess}." if guess else "correct or remove it.",
            )
        by_name = isinstance(column, str)
        if kind in MARKED_UP:
            usable, expected = False, f"nothing, because the file holds {NAMES[kind]}"
        elif kind in ("json", "parquet"):
            usable, expected = True, "a name"  # a number is a name there, as data frames write it
        elif by_name:
            usable, expected = table.header is not False, "a position from 0, because the file has no header"
        else:
            usable, expected = int(column) >= 0, "a name, or a position from 0"
        if usable:
            continue
        raise HardnegError(
            f"A column of the {fields.kind} is given in an invalid way.",
            where=where,
            found=f"{name}: {column}",
            expected=expected,
            remedy="correct it.",
        )


def records(table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each record and its raw values by field. Fields without a column are left out.

    Raises:
        HardnegError: a file or line cannot be read, a column is missing, or a line has the wrong number of columns.
    """
    kind, paths = kind_of(table, fields), parts(table.path).values()
    if kind in ("json", "parquet"):
        table = replace(table, columns={name: str(column) for name, column in table.columns.items()})
    if kind == "json":
        yield from _json_records(paths, table, fields)
        return
    for path in paths:
        if kind == "parquet":
            yield from _parquet_records(path, table, fields)
        elif kind in MARKED_UP:
            yield from marked_up(kind, path)
        else:
            rows = _csv_rows(path) if kind == "csv" else _tab_rows(path, fields)
            yield from _cell_records(rows, table, fields)


def named_rows(table: Table, fields: Fields, given: Collection[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each row and all its values by the names of their columns.

    A text or CSV file without a header is read by position; its columns then have the names of the fields.

    Args:
        table: the files.
        fields: of a row.
        given: names of columns that the user gave, which make a first line that has one a header.

    Raises:
        HardnegError: a file or line cannot be read, or has the wrong number of columns.
    """
    kind = kind_of(table, fields)
    for path in parts(table.path).values():
        if kind == "json":
            yield from json_lines(path)
        elif kind == "parquet":
            yield from _parquet_rows(path, lambda names: {name: name for name in names})
        else:
            yield from _named_cells(_csv_rows(path) if kind == "csv" else _tab_rows(path, fields), table, fields, given)


def _named_cells(
    rows: Iterator[tuple[str, list[str]]], table: Table, fields: Fields, given: Collection[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    place, first = next(rows, ("", []))
    if not first:
        return
    known = {*given, *chain.from_iterable(fields.names.values())}
    header = table.header
    if header is None:
        header = any(cell in known or cell.strip().casefold() in known for cell in first)
    if not header:
        ahead = list(islice(rows, LOOKED_AHEAD))
        if table.header is None:
            refuse_unknown_names([first, *(cells for _, cells in ahead)], fields, place)
        rows = chain([(place, first)], ahead, rows)
        if len(first) not in fields.layouts:
            wrong_count(first, "2: query positive, or 3: query positive negative; or a header", fields, place)
    names = first if header else list(fields.layouts[len(first)])
    for where, cells in rows:
        if len(cells) != len(names):
            wrong_count(cells, f"{len(names)}, as in the first line", fields, where)
        yield where, dict(zip(names, cells, strict=True))


def _json_records(paths: Iterable[Path], table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    given = given_names(table)
    unseen = set(given.values())
    keys: tuple[str, ...] | None = None
    where, found = "", {}
    for path in paths:
        for where, record in json_lines(path):
            if keys != (present := tuple(record)):  # usually the same as before
                keys, found = present, match_columns(present, table, fields, where, all_given=False)
                unseen.difference_update(present)
            yield where, {name: record[key] for name, key in found.items()}
    for name, column in given.items():
        if where and column in unseen:
            missing_column(name, [column], keys or (), fields, f"{table.path}, in every record")


def _parquet_records(path: Path, table: Table, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    return _parquet_rows(path, lambda names: match_columns(names, table, fields, str(path)))


def _parquet_rows(path: Path, chosen: Callable[[list[str]], dict[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each row and its values by the keys of what `chosen` makes of the columns' names."""
    import pyarrow as pa  # imported here so that planning starts without it
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            found = chosen(file.schema_arrow.names)
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
            remedy="check its permissions, or get the file again if it is damaged or truncated.",
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
                expected=f"closed quotes, doubled inside a cell, and at most {LONGEST_CELL:,} characters per cell",
                remedy="fix the record that starts there.",
            ) from None
        if cells is None:
            return
        if any(map(str.strip, cells)):
            yield where, cells


def _cell_records(
    rows: Iterator[tuple[str, list[str]]], table: Table, fields: Fields
) -> Iterator[tuple[str, dict[str, Any]]]:
    place, first = next(rows, ("", []))
    if not first:
        return
    header = is_header(first, table, fields)
    if not header and table.header is None and not table.columns:
        ahead = list(islice(rows, LOOKED_AHEAD))
        refuse_unknown_names([first, *(cells for _, cells in ahead)], fields, place)
        rows = chain(ahead, rows)
    at = header_columns(first, table, fields, place) if header else layout_columns(first, table, fields, place)
    width = table.width or len(first)
    for where, cells in chain([(place, first)], rows):
        if len(cells) != width:
            wrong_count(cells, str(width) if table.width else f"{width}, as in the first line", fields, where)
        if header:
            header = False
        else:
            yield where, {name: cells[index] for name, index in at.items()}


def as_trec(table: Table, fields: Fields) -> bool:
    """Whether a table is text without a header and without named columns, as TREC files are."""
    if kind_of(table, fields) != "tabs" or table.columns or table.header or table.width:
        return False
    rows = _tab_rows(next(iter(parts(table.path).values())), fields)
    place, first = next(rows, ("", [""]))
    if is_header(first, table, fields):
        return False
    if table.header is None:
        refuse_unknown_names([first, *(cells for _, cells in islice(rows, LOOKED_AHEAD))], fields, place)
    return True
