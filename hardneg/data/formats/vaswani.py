"""The Vaswani collection (NPL) under its own file names: `doc-text`, `query-text` and `rlv-ass`, perhaps with `.txt`.

All three hold records of the same form: a line with a number, lines of text, and a line with nothing but `/`. The text
of a record of `rlv-ass` is the numbers of the passages that are relevant to the query of its number.

    1
    compact memories have flexible capacities
       /
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.lines import lines
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import file_digest

NAMES = ("doc-text", "query-text", "rlv-ass")
SPLIT = "train"
END = "/"


class Record(NamedTuple):
    """A record of one of the files; `where` is the file and line of its number."""

    where: str
    number: str
    text: str


class Vaswani:
    """Reads the folder; a `CollectionReader`. Its queries form the split `train`; `holdout` makes the others.

    Args:
        folder: where the three files are.

    Raises:
        HardnegError: one is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self._passages, self._queries, self._judgements = (_file(Path(folder), name) for name in NAMES)

    def splits(self) -> tuple[str, ...]:
        """The only split."""
        return (SPLIT,)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """All files, by name.

        Raises:
            HardnegError: there is no such split.
        """
        for split in splits:
            if split != SPLIT:
                raise HardnegError(
                    "The collection has no such split.",
                    where="splits",
                    found=split,
                    expected=SPLIT,
                    remedy="hold it out of the queries: collection.holdout.",
                )
        return {path.name: path for path in (self._passages, self._queries, self._judgements)}

    def passages(self) -> Iterator[Passage]:
        """Every passage, without a title.

        Raises:
            HardnegError: a record is malformed.
        """
        return (Passage(number, "", text, where) for where, number, text in records(self._passages))

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries, in the order of the file.

        Raises:
            HardnegError: there is no such split, a record is malformed, or a judged query is missing.
        """
        self.files([split])
        asked = (Query(number, text, where) for where, number, text in records(self._queries))
        return judged_queries(asked, partial(self.judgements, split), self._queries)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """One judgement of grade 1 for each number in a record.

        Raises:
            HardnegError: there is no such split, or a record is malformed.
        """
        self.files([split])
        for where, query, passages in records(self._judgements):
            for passage in passages.split():
                yield Judgement(query, passage, 1, where)

    def provenance(self) -> dict[str, Any]:
        """The size and SHA-256 of each file."""
        files = self.files(()).items()
        return {"files": {name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for name, path in files}}


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.txt"):
        if path.is_file():
            return path
    raise HardnegError(
        "A file of the collection is missing.",
        where=str(folder),
        found=", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing",
        expected=f"{name} or {name}.txt",
        remedy="put the file there, or correct `collection.path`.",
    )


def records(path: Path) -> Iterator[Record]:
    """The records of a file, streamed.

    Raises:
        HardnegError: a record does not begin with its number, or is not closed.
    """
    number, start, text = "", "", list[str]()
    for where, line in lines(path):
        content = line.strip()
        if number and content == END:
            yield Record(start, number, " ".join(text))
            number, text = "", []
        elif number:
            text.append(content)
        elif content.isdecimal():
            number, start = content, where
        else:
            raise HardnegError(
                "A record does not begin with its number.",
                where=where,
                found=repr(content[:80]),
                expected=f"a line with a number, lines of text, and a line with {END}",
                remedy="correct the record.",
            )
    if number:
        raise HardnegError(
            "A record is not closed.",
            where=start,
            found="the end of the file",
            expected=f"a line with {END}",
            remedy="get the file again if it is truncated.",
        )
