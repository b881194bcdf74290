"""Splits held out from another split's queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hardneg.data.collection import CollectionReader, Given, Judgement, Passage, Query
from hardneg.errors import HardnegError


class HeldOut:
    """A collection with further splits, held out from an existing one; a `CollectionReader`.

    A hash of its id decides the split of a query, so adding queries moves no other query.

    Args:
        reader: the collection.
        source: the split that queries are taken from.
        shares: for each new split its share of the source's queries, between 0 and 1.

    Raises:
        HardnegError: a new split already exists in the collection, or the source does not.
    """

    def __init__(self, reader: CollectionReader, source: str, shares: Mapping[str, float]) -> None:
        self._reader, self._source, self._shares = reader, source, dict(shares)
        existing = reader.splits()
        for split in self._shares:
            if split in existing:
                raise HardnegError(
                    "A split to hold out already exists in the collection.",
                    where=f"collection.holdout.{split}",
                    found=split,
                    expected=f"a name other than {', '.join(existing)}",
                    remedy="use the collection's own split, or hold out under another name.",
                )
        if source not in existing:
            raise HardnegError(
                "The collection lacks the split to hold out from.",
                where="splits.train",
                found=source,
                expected=", ".join(existing),
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
        """The files that these splits need, by name."""
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

    def given(self, split: str) -> Iterator[Given]:
        """The passages that the collection gives for queries of a split, if it gives any."""
        given = getattr(self._reader, "given", None)
        if given is None:
            return iter(())
        found: Iterator[Given] = given(self._origin(split))
        if self._origin(split) != self._source:
            return found
        return (each for each in found if self._split_of(each.query_id) == split)

    def provenance(self) -> dict[str, Any]:
        """The origin of the collection (see `CollectionReader`)."""
        return self._reader.provenance()
