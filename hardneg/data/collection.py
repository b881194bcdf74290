"""What every collection format gives: passages, and for each split queries and judgements, as streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A unit of retrieval; `title` and `url` may be empty.

    `where` is the file and line it comes from, for messages, if any.
    """

    passage_id: str
    title: str
    text: str
    where: str = field(default="", compare=False)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A question. `where` is the file and line it comes from, for messages, if any."""

    query_id: str
    text: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How relevant a passage is to a query.

    Attributes:
        query_id: a query of the same split.
        passage_id: a passage of the collection.
        grade: 0 or less is not relevant; the greater, the more relevant.
        where: the file and line it comes from, for messages; empty where there is none.
    """

    query_id: str
    passage_id: str
    grade: int
    where: str = ""


class CollectionReader(Protocol):
    """A collection as its format gives it, in an order that never changes.

    Every method streams, so that a collection need not fit in memory, and each call starts from the beginning. Readers
    refuse what breaks their format; whether ids repeat and judgements name known passages is for the caller to check.
    """

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, such as train, dev, test."""
        ...

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that some splits are read from, by names that no machine's paths are in; none: not from files."""
        ...

    def passages(self) -> Iterator[Passage]:
        """Every passage."""
        ...

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split."""
        ...

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What the collection was made from: versions, or files with their digests; no absolute paths or dates."""
        ...
