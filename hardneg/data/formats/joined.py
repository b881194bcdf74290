"""Several collections as one. Ids carry the name of the collection that they are from: `scifact/4983`.

A split has the queries of all collections that have it. `<collection>.<split>` has those of one, so that each can be
measured by itself. Passages, and the queries of a split, come collection by collection, in the order given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardneg.data.collection import CollectionReader, Given, Judgement, Passage, Query
from hardneg.data.members import id_in
from hardneg.errors import HardnegError


class Joined:
    """Reads several collections; a `CollectionReader`.

    Args:
        readers: of each, by name.
        train: the training split, which each must have; None where nothing is trained.

    Raises:
        HardnegError: one has no training split.
    """

    def __init__(self, readers: Mapping[str, CollectionReader], train: str | None) -> None:
        self._readers = dict(readers)
        for name, reader in self._readers.items():
            if train is not None and train not in reader.splits():
                raise HardnegError(
                    "A collection to train on has no training split.",
                    where=f"collection.parts, {name}",
                    found=", ".join(reader.splits()),
                    expected=train,
                    remedy="add its judgements, hold splits out of another one (`holdout`), or remove the collection.",
                )

    def splits(self) -> tuple[str, ...]:
        """The splits of all collections, then those of each: `test`, `scifact.test`."""
        own = [f"{name}.{split}" for name, reader in self._readers.items() for split in reader.splits()]
        return tuple(dict.fromkeys([split for reader in self._readers.values() for split in reader.splits()] + own))

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that these splits need, by the collection's name and a name in it.

        Raises:
            HardnegError: no collection has a split.
        """
        wanted: dict[str, list[str]] = {name: [] for name in self._readers}
        for split in splits:
            if not (having := self._having(split)):
                raise HardnegError(
                    "The collection has no such split.",
                    where="splits",
                    found=split,
                    expected=", ".join(self.splits()),
                    remedy="correct the names under `splits` in the configuration.",
                )
            for name, own in having:
                wanted[name] += [own] if own not in wanted[name] else []
        return {
            f"{name}/{file}": path
            for name, reader in self._readers.items()
            for file, path in reader.files(wanted[name]).items()
        }

    def passages(self) -> Iterator[Passage]:
        """Every passage of every collection."""
        for name, reader in self._readers.items():
            for passage in reader.passages():
                yield replace(passage, passage_id=id_in(name, passage.passage_id))

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split."""
        for name, own in self._having(split):
            for query in self._readers[name].queries(own):
                yield replace(query, query_id=id_in(name, query.query_id))

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split."""
        for name, own in self._having(split):
            for judged in self._readers[name].judgements(own):
                query_id, passage_id = id_in(name, judged.query_id), id_in(name, judged.passage_id)
                yield replace(judged, query_id=query_id, passage_id=passage_id)

    def given(self, split: str) -> Iterator[Given]:
        """What the collections themselves give for the queries of a split."""
        for name, own in self._having(split):
            reader: Any = self._readers[name]
            for given in reader.given(own) if hasattr(reader, "given") else ():
                query_id, passage_id = id_in(name, given.query_id), id_in(name, given.passage_id)
                yield replace(given, query_id=query_id, passage_id=passage_id)

    def provenance(self) -> dict[str, Any]:
        """The origin of each collection, and what was told of its files."""
        origins = {name: reader.provenance() for name, reader in self._readers.items()}
        told = {
            f"{name}/{file}": line for name, origin in origins.items() for file, line in origin.pop("told", {}).items()
        }
        return {"told": told, "parts": origins}

    def _having(self, split: str) -> list[tuple[str, str]]:
        """The collections that have a split, each with its own name for it."""
        shared = [(name, split) for name, reader in self._readers.items() if split in reader.splits()]
        one = [
            (name, own) for name, reader in self._readers.items() for own in reader.splits() if f"{name}.{own}" == split
        ]
        return shared or one
