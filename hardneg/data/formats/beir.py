"""A folder in BEIR layout: `corpus.jsonl`, `queries.jsonl` (each plain or `.gz`) and `qrels/<split>.tsv` with a header.

Each line of the first two files is a JSON object with the keys `_id`, `text` and, for passages, optionally `title`.
Each line of a qrels file has a query id, a passage id and an integer grade, separated by tabs. Byte order marks at the
start of lines, CRLF and blank lines are tolerated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.lines import GRADE, compression_told, grade_of, json_lines, lines, text_of
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import file_digest

HEADER = "query-id<tab>corpus-id<tab>score"
USUAL_ORDER = ("train", "dev", "test")


def qrels_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the three columns of each line of a qrels file.

    Raises:
        HardnegError: as for `lines`, or a line does not have three non-empty columns.
    """
    for where, line in lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3 or not all(columns):
            raise HardnegError(
                "A line of the qrels does not have three columns.",
                where=where,
                found=f"{sum(map(bool, columns))}: {line[:80]!r}",
                expected=f"3: {HEADER}",
                remedy="write three values separated by tabs.",
            )
        yield where, columns


class Beir:
    """Reads a BEIR folder; a `CollectionReader`.

    The queries of a split are those its qrels judge, in the order of `queries.jsonl`. Their ids are held in memory.

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
                found="a file" if self.folder.exists() else "nothing",
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
        """The names of the files in qrels/: train, dev and test first, then the others alphabetically."""
        return tuple(self._qrels)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that these splits need, by their path in the folder.

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
                    remedy=f"add {self.folder}/qrels/{split}.tsv, or choose other splits under `splits`.",
                )
        paths = [self._corpus, self._queries, *(self._qrels[split] for split in splits)]
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    def passages(self) -> Iterator[Passage]:
        """Every passage, in the order of the corpus.

        Raises:
            HardnegError: a line is malformed or lacks `_id` or `text`, or there is no passage.
        """
        where = ""
        for where, record in json_lines(self._corpus):
            title = text_of(record, "title", where) if record.get("title") is not None else ""
            yield Passage(text_of(record, "_id", where), title, text_of(record, "text", where), where)
        if not where:
            raise HardnegError(
                "The collection has no passages.",
                where=str(self._corpus),
                found="no line",
                expected='{"_id": ..., "text": ...} on each line',
                remedy="put the passages there, or correct `collection.path`.",
            )

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in the order of `queries.jsonl`.

        Raises:
            HardnegError: a line is malformed or lacks `_id` or `text`, or a judged query is missing.
        """
        asked = (
            Query(text_of(record, "_id", where), text_of(record, "text", where), where)
            for where, record in json_lines(self._queries)
        )
        return judged_queries(asked, partial(self.judgements, split), self._queries)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in the order of its qrels.

        Raises:
            HardnegError: the split or the header is missing, or a line does not have two ids and an integer grade.
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
                remedy="add the header as the first line.",
            )
        for where, (query_id, passage_id, grade) in records:
            yield Judgement(query_id, passage_id, grade_of(grade, where), where)

    def provenance(self) -> dict[str, Any]:
        """The size and SHA-256 of each file, by its path in the folder, and what was told of them."""
        packed = {path.name: compression_told(path) for path in (self._corpus, self._queries, *self._qrels.values())}
        return {
            "told": {name: line for name, line in packed.items() if line},
            "files": {
                path.relative_to(self.folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
                for path in (self._corpus, self._queries, *self._qrels.values())
            },
        }
