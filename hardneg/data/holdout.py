"""Splits made by putting aside some of a split's queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hardneg.data.collection import CollectionReader, Judgement, Passage, Query
from hardneg.errors import HardnegError


class HeldOut:
    """A collection with further splits, taken from one that it has; a `CollectionReader`.

    Which split a query goes to is decided by a hash of its id alone: adding queries moves no other query.

    Args:
        reader: the collection.
        source: the split that gives queries away.
        shares: for each new split the share of the source's queries that it takes, between 0 and 1.

    Raises:
        HardnegError: the collection has such a split already, or lacks the source.
    """

    def __init__(self, reader: CollectionReader, source: str, shares: Mapping[str, float]) -> None:
        self._reader, self._source, self._shares = reader, source, dict(shares)
        there = reader.splits()
        for split in self._shares:
            if split in there:
                raise HardnegError(
                    "A split to hold out is in the collection already.",
                    where=f"collection.holdout.{split}",
                    found=split,
                    expected=f"a name other than {', '.join(there)}",
                    remedy="use the collection's own split, or hold out under another name.",
                )
        if source not in there:
            raise HardnegError(
                "The split to hold out from is not in the collection.",
                where="splits.train",
                found=source,
                expected=", ".join(there),
                remedy="name one of these under splits.train, or remove collection.holdout.",
            )

    def _split_of(self, query_id: str) -> str:
        place = int.from_bytes(hashlib.sha256(query_id.encode()).digest()[:8]) / 2**64
        for split, share in self._shares.items():
            if place < share:
                return split
            place -= share
        return self._source

    def splits(self) -> tuple[str, ...]:
        """The collection's own splits, then those held out."""
        return (*self._reader.splits(), *self._shares)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that some splits are read from, by name."""
        return self._reader.files(dict.fromkeys(self._origin(split) for split in splits))

    def _origin(self, split: str) -> str:
        return self._source if split in self._shares else split

    def passages(self) -> Iterator[Passage]:
        """Every passage."""
        return self._reader.passages()

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split."""
        queries = self._reader.queries(self._origin(split))
        if self._origin(split) != self._source:
            return queries
        return (query for query in queries if self._split_of(query.query_id) == split)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split."""
        judgements = self._reader.judgements(self._origin(split))
        if self._origin(split) != self._source:
            return judgements
        return (judgement for judgement in judgements if self._split_of(judgement.query_id) == split)

    def provenance(self) -> dict[str, Any]:
        """What the collection was made from."""
        return self._reader.provenance()
