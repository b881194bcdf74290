"""Whether joined collections fit together, and whether the systems keep each query to its own collection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from hardneg.config.collection import BaseCollection, FolderCollection, JoinedCollection
from hardneg.config.config import Config
from hardneg.config.hints import did_you_mean, repeated
from hardneg.errors import HardnegError

WHOLE = {"windows": None, "own_passages": "auto"}
"""Settings of a collection that hold for all that are joined, with their defaults."""

WORDS = ("equal", "queries")
"""What weights may be, besides a number for each collection."""

UNPARTED = frozenset({"cache"})
"""What sources provide whose candidates come from all collections at once."""


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of the parts, of their weights, then of systems that look at all passages at once."""
    joined = config.collection
    if not isinstance(joined, JoinedCollection):
        return
    names = [part.name for part in joined.parts]
    for name in repeated(names):
        yield HardnegError(
            "Two joined collections have the same name.",
            where="collection.parts",
            found=name,
            expected="another name each: ids begin with it",
            remedy="give one of them another `name`.",
        )
    for number, part in enumerate(joined.parts):
        yield from _part(f"collection.parts.{number}", part)
    if joined.holdout:
        yield HardnegError(
            "Splits are held out of each joined collection by itself.",
            where="collection.holdout",
            found=", ".join(joined.holdout),
            remedy="move `holdout` into the entries of collection.parts.",
        )
    if len(names) == 1:
        yield HardnegError(
            "A single collection needs no joining.",
            where="collection.parts",
            found=names[0],
            expected="two or more",
            remedy="add others, or write this one as the block `collection` itself.",
        )
    yield from _weights(joined.weights, names)
    yield from _systems(config)
    yield from _analyses(config)


def _part(at: str, part: BaseCollection) -> Iterator[HardnegError]:
    for key, default in WHOLE.items():
        if getattr(part, key) != default:
            yield HardnegError(
                "This holds for all joined collections.",
                where=f"{at}.{key}",
                remedy=f"set collection.{key} instead.",
            )
    if isinstance(part, FolderCollection) and part.download:
        yield HardnegError(
            "A joined collection is read from files that are here.",
            where=f"{at}.download",
            remedy="download it first (a study of its own does), then give its folder as `path`, without `download`.",
        )


def _weights(weights: Mapping[str, float] | str, names: list[str]) -> Iterator[HardnegError]:
    if isinstance(weights, str):
        if weights not in WORDS:
            yield HardnegError(
                "Weights are said by one of two words, or a number for each collection.",
                where="collection.weights",
                found=weights,
                expected=f"{' or '.join(WORDS)}, or {{{', '.join(f'{name}: 1' for name in names)}}}",
                remedy=did_you_mean(weights, WORDS, "choose one of these."),
            )
        return
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            yield HardnegError(
                "A weight is the share of batches that a collection gives.",
                where=f"collection.weights.{name}",
                found=str(weight),
                expected="a number above 0",
                remedy="raise it, or remove the collection from collection.parts.",
            )
        if name not in names:
            yield HardnegError(
                "A weight is of a collection that is not joined.",
                where=f"collection.weights.{name}",
                found=name,
                expected=", ".join(names),
                remedy=did_you_mean(name, names, "name one of these."),
            )
    if lacking := [name for name in names if name not in weights]:
        yield HardnegError(
            "A joined collection has no weight.",
            where="collection.weights",
            found=", ".join(weights) or "none",
            expected=", ".join(names),
            remedy=f"add {', '.join(lacking)}; the chance of a batch is in proportion to the weights.",
        )


def _analyses(config: Config) -> Iterator[HardnegError]:
    if config.analyses.trajectory is not None:
        yield HardnegError(
            "A trajectory compares lists with a search among all passages, of joined collections too.",
            where="analyses.trajectory",
            found=", ".join(config.analyses.trajectory.systems),
            remedy="remove the key, or follow the training on one of the collections.",
        )


def _systems(config: Config) -> Iterator[HardnegError]:
    for where, index in config.indexes().items():
        if index.factory != "Flat":
            yield HardnegError(
                "Joined collections are searched exactly, each by itself.",
                where=f"{where}.factory",
                found=index.factory,
                expected="Flat",
                remedy="set Flat. To serve another index, evaluate the system on a collection by itself (evaluate_on).",
            )
    for name, system in config.systems.items():
        for source in system.source:
            if system.trains != "nothing" and source.provides & UNPARTED:
                yield HardnegError(
                    f"Source {source.name} takes candidates from all joined collections at once.",
                    where=f"systems.{name}.source",
                    found=source.name,
                    expected="a source that keeps to a query's own collection: run, self, live, random, given or none",
                    remedy="choose one of these; or train this system on one collection by itself, from this study.",
                )
