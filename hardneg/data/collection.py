"""What every collection format provides: streams of passages and, for each split, of queries and judgements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hardneg.errors import HardnegError


@dataclass(frozen=True, slots=True)
class Passage:
    """A unit of retrieval. `title` and `url` may be empty.

    `where` is its file and line, for error messages. It may be empty.
    """

    passage_id: str
    title: str
    text: str
    where: str = field(default="", compare=False)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A query. `where` is its file and line, for error messages. It may be empty."""

    query_id: str
    text: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The relevance of a passage to a query.

    Attributes:
        query_id: a query of the same split.
        passage_id: a passage of the collection.
        grade: 0 or less means not relevant; higher is more relevant.
        where: its file and line, for error messages; may be empty.
    """

    query_id: str
    passage_id: str
    grade: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A passage that a collection itself gives for a query: a negative, or a scored relevant passage.

    Attributes:
        query_id: a query of the split.
        passage_id: a passage of the collection.
        score: NaN where none is given.
        relevant: whether it is one of the relevant passages, which are given only for their scores.
    """

    query_id: str
    passage_id: str
    score: float
    relevant: bool


def judged_queries(
    queries: Iterable[Query], judgements: Callable[[], Iterable[Judgement]], source: Path | str
) -> Iterator[Query]:
    """The judged queries. Their ids are held in memory.

    Args:
        queries: all queries.
        judgements: returns the judgements of the split, each time anew.
        source: the file of the queries, for the error message.

    Raises:
        HardnegError: a judged query is missing.
    """
    judged = {judgement.query_id for judgement in judgements()}
    absent = set(judged)
    for query in queries:
        if query.query_id in judged:
            absent.discard(query.query_id)
            yield query
    if absent:
        first = next(judgement for judgement in judgements() if judgement.query_id in absent)
        raise HardnegError(
            f"The qrels judge a query that is not in {source.name if isinstance(source, Path) else source}.",
            where=first.where,
            found=f"{first.query_id} ({len(absent):,} in all)",
            expected=f"an id of {source}",
            remedy="add the query or remove its judgements.",
        )


class CollectionReader(Protocol):
    """A collection in one of the formats, read in a fixed order.

    Every method streams, so a collection need not fit in memory, and every call starts from the beginning. Readers
    refuse malformed files. The caller checks for duplicate ids and for judgements of unknown passages.

    A reader may also have a method `given(split)` that yields `Given` passages.
    """

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, such as train, dev, test."""
        ...

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that these splits need, by a name without local paths. Empty if the collection is not in files."""
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
        """The origin of the collection: versions, or files with their digests. No absolute paths or dates."""
        ...
