"""A folder in BEIR layout: `corpus.jsonl`, `queries.jsonl` (each plain or `.gz`) and `qrels/<split>.tsv` with a header.

A line of the first two is a JSON object with the keys `_id`, `text` and, for passages, perhaps `title`; a line of a
qrels file has a query's id, a passage's id and an integer grade, separated by tabs. A byte order mark, CRLF and empty
lines are tolerated.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from hardneg.artifacts import file_digest
from hardneg.data.collection import Judgement, Passage, Query
from hardneg.errors import HardnegError

HEADER = "query-id<tab>corpus-id<tab>score"
GRADE = re.compile(r"[+-]?[0-9]{1,9}")  # fits 32 bits
USUAL_ORDER = ("train", "dev", "test")


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a UTF-8 file (unpacked where its name ends in .gz) that is not empty, after its place `file:line`.

    Raises:
        HardnegError: the file cannot be read, is cut short, or a line is not UTF-8.
    """
    number = 0
    try:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as stream:
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield f"{path}:{number}", text
    except UnicodeDecodeError as fault:
        raise HardnegError(
            "A line is not UTF-8 text.",
            where=f"{path}:{number}",
            found=f"byte 0x{fault.object[fault.start]:02x} at position {fault.start + 1} of the line",
            remedy="save the file as UTF-8.",
        ) from None
    except (OSError, EOFError, zlib.error) as fault:
        raise HardnegError(
            "A file of the collection cannot be read.",
            where=f"{path}, after line {number}",
            found=str(fault),
            remedy="check its permissions, or get the file again if it is damaged or cut short.",
        ) from None


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object on each line of a JSON Lines file, after its place.

    Raises:
        HardnegError: as `lines`, or a line holds no JSON object.
    """
    for where, line in lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise HardnegError(
                "A line is not valid JSON.",
                where=where,
                found=str(fault),
                expected="one JSON object a line",
                remedy="mend or remove that line.",
            ) from None
        if not isinstance(value, dict):
            raise HardnegError(
                "A line holds no JSON object.",
                where=where,
                found=line[:80],
                expected='{"_id": ..., "text": ...}',
                remedy="mend or remove that line.",
            )
        yield where, value


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """The text under a key.

    Raises:
        HardnegError: the key is missing, its value is no text, or it holds half of a surrogate pair.
    """
    if key not in record:
        raise HardnegError(
            f"A record lacks the key `{key}`.",
            where=where,
            found=", ".join(record) or "no keys",
            expected=key,
            remedy="add the key, or remove that line.",
        )
    value = record[key]
    if not isinstance(value, str) or (key == "_id" and not value):
        found, expected = json.dumps(value)[:80], "an identifier in quotes" if key == "_id" else "text in quotes"
        raise HardnegError(
            f"The value of `{key}` cannot be used.",
            where=where,
            found=found,
            expected=expected,
            remedy="correct the value.",
        )
    try:
        value.encode()
    except UnicodeEncodeError as fault:
        raise HardnegError(
            f"The value of `{key}` is no valid Unicode text.",
            where=where,
            found=f"half of a surrogate pair, \\u{ord(value[fault.start]):04x}",
            remedy="remove it or write the whole character.",
        ) from None
    return value


def qrels_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The three columns of each line of a qrels file, after its place.

    Raises:
        HardnegError: as `lines`, or a line has not three columns with something in each.
    """
    for where, line in lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3 or not all(columns):
            raise HardnegError(
                "A line of the qrels has not three columns.",
                where=where,
                found=f"{sum(map(bool, columns))}: {line[:80]!r}",
                expected=f"3: {HEADER}",
                remedy="write three values separated by tabs.",
            )
        yield where, columns


class Beir:
    """Reads a BEIR folder; a `CollectionReader`.

    The queries of a split are those its qrels judge, in the order of `queries.jsonl`; their ids are held in memory.

    Args:
        folder: where the files are.

    Raises:
        HardnegError: the folder or one of its files is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise HardnegError(
                "The folder of the collection is missing.",
                where=str(self.folder),
                found="a file" if self.folder.exists() else "nothing there",
                expected="a folder with corpus.jsonl, queries.jsonl and qrels/",
                remedy="correct `collection.path`.",
            )
        self._corpus, self._queries = self._file("corpus.jsonl"), self._file("queries.jsonl")
        found = {path.stem: path for path in sorted((self.folder / "qrels").glob("*.tsv"))}
        if not found:
            raise self._missing("qrels/<split>.tsv")
        self._qrels = {split: found[split] for split in (*USUAL_ORDER, *found) if split in found}

    def _missing(self, name: str) -> HardnegError:
        paths = [*self.folder.glob("*"), *self.folder.glob("qrels/*")]
        present = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        return HardnegError(
            "A file of the collection is missing.",
            where=str(self.folder),
            found=", ".join(present) or "an empty folder",
            expected=name,
            remedy="put the file there, or correct `collection.path`.",
        )

    def _file(self, name: str) -> Path:
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():
                return path
        raise self._missing(f"{name} or {name}.gz")

    def splits(self) -> tuple[str, ...]:
        """The names of the files in qrels/: train, dev, test first, then others alphabetically."""
        return tuple(self._qrels)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that some splits are read from, by name relative to the folder.

        Raises:
            HardnegError: a split has no qrels.
        """
        for split in splits:
            if split not in self._qrels:
                raise HardnegError(
                    "The collection has no such split.",
                    where="splits",
                    found=split,
                    expected=", ".join(self._qrels),
                    remedy=f"add {self.folder}/qrels/{split}.tsv, or name other splits under `splits`.",
                )
        paths = [self._corpus, self._queries, *(self._qrels[split] for split in splits)]
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    def passages(self) -> Iterator[Passage]:
        """Every passage, in the order of the corpus.

        Raises:
            HardnegError: a line is broken or lacks `_id` or `text`, or there is no passage at all.
        """
        where = ""
        for where, record in json_lines(self._corpus):
            title = text_of(record, "title", where) if record.get("title") is not None else ""
            yield Passage(text_of(record, "_id", where), title, text_of(record, "text", where), where)
        if not where:
            raise HardnegError(
                "The collection has no passages.",
                where=str(self._corpus),
                found="no line with a passage",
                expected='{"_id": ..., "text": ...} on each line',
                remedy="put the passages there, or correct `collection.path`.",
            )

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in the order of `queries.jsonl`.

        Raises:
            HardnegError: a line is broken or lacks `_id` or `text`, or a judged query is missing.
        """
        judged: dict[str, str] = {}
        for judgement in self.judgements(split):
            judged.setdefault(judgement.query_id, judgement.where)
        absent = dict(judged)
        for where, record in json_lines(self._queries):
            query_id = text_of(record, "_id", where)
            if query_id in judged:
                absent.pop(query_id, None)
                yield Query(query_id, text_of(record, "text", where), where)
        for query_id, where in absent.items():
            raise HardnegError(
                f"The qrels judge a query that {self._queries.name} lacks.",
                where=where,
                found=f"{query_id} ({len(absent):,} such in all)",
                expected=f"an `_id` of {self._queries}",
                remedy="add the query or remove its judgements.",
            )

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in the order of its qrels.

        Raises:
            HardnegError: the split or the header is missing, or a line has not three columns, the last an integer.
        """
        if split not in self._qrels:
            raise self._missing(f"qrels/{split}.tsv")
        records = qrels_lines(self._qrels[split])
        where, header = next(records, (str(self._qrels[split]), ["nothing"]))
        if len(header) != 3 or GRADE.fullmatch(header[2]):
            raise HardnegError(
                "The qrels have no header.",
                where=where,
                found="<tab>".join(header),
                expected=HEADER,
                remedy="put the header before the first judgement.",
            )
        for where, (query_id, passage_id, grade) in records:
            if not GRADE.fullmatch(grade):
                raise HardnegError(
                    "A grade is no integer.",
                    where=where,
                    found=repr(grade),
                    expected="a whole number such as 0, 1, 2",
                    remedy="correct the grade.",
                )
            yield Judgement(query_id, passage_id, int(grade), where)

    def provenance(self) -> dict[str, Any]:
        """Size and SHA-256 of each file, by its name in the folder."""
        return {
            "files": {
                path.relative_to(self.folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
                for path in (self._corpus, self._queries, *self._qrels.values())
            }
        }
