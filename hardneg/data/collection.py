"""What every collection format gives: passages, and for each split queries and judgements, as streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hardneg.errors import HardnegError


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


def judged_queries(
    queries: Iterable[Query], judgements: Callable[[], Iterable[Judgement]], source: Path | str
) -> Iterator[Query]:
    """Those of `queries` that are judged; the ids of the judged ones are held in memory.

    Args:
        queries: all there are.
        judgements: gives those of the split, each time it is called.
        source: where the queries come from, for the message.

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
            f"The qrels judge a query that {source.name if isinstance(source, Path) else source} lacks.",
            where=first.where,
            found=f"{first.query_id} ({len(absent):,} such in all)",
            expected=f"an id of {source}",
            remedy="add the query or remove its judgements.",
        )


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
