"""Whether the collections of `evaluate_on` are given once each, and whether a system can be evaluated there."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.checks import collection as of_collection
from hardneg.config.collection import Collection, Splits
from hardneg.config.config import Config
from hardneg.config.elsewhere import MEAN, EvaluatedOn
from hardneg.config.hints import repeated
from hardneg.errors import HardnegError


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of each entry by itself, then of names that come twice."""
    names: list[str] = []
    for number, entry in enumerate(config.evaluate_on):
        at = f"evaluate_on.{number}"
        if entry.collection is not None and entry.config is not None:
            yield HardnegError(
                "A collection to evaluate on is given twice.",
                where=at,
                found="collection, config",
                expected="`collection`, its block; or `config`, a file that has it; or neither, for this study's own",
                remedy="remove one of the two.",
            )
        elif entry.collection is not None:
            yield from _of_collection(at, entry.collection, entry.split, config)
            names.append(entry.collection.name)
        elif entry.config is None:
            yield from _own(at, entry, config)
    yield from named_once(names, config.collection.name)
    if config.evaluate_on and not any(can_move(name, config) for name in config.systems):
        yield HardnegError(
            "No system of this study can be evaluated on another collection.",
            where="evaluate_on",
            found=", ".join(f"{name}, retriever {system.retriever}" for name, system in config.systems.items()),
            expected="a system with retriever bm25, dense or rerank",
            remedy="add one (`{preset: pretrained}` is the backbone as it is), or remove the key.",
        )


def named_once(names: list[str], own: str) -> Iterator[HardnegError]:
    """Problems of the names of collections: a column of a table each, and a folder of artifacts.

    Args:
        names: of the entries that name a collection, not of the study's own.
        own: the name of the study's collection.
    """
    for name in repeated(names):
        yield HardnegError(
            "Two collections to evaluate on have the same name.",
            where="evaluate_on",
            found=name,
            expected="another name each",
            remedy="give one of them another `name`, or remove it.",
        )
    if own in names:
        yield HardnegError(
            "A collection to evaluate on has the name of this study's own.",
            where="evaluate_on",
            found=own,
            remedy="`- {split: test}`, without `collection`, is the study's own; another one needs another `name`.",
        )
    if MEAN in names:
        yield HardnegError(
            "A collection cannot have this name: it stands for the mean over collections.",
            where="evaluate_on",
            found=MEAN,
            remedy="give it another `name`.",
        )


def can_move(name: str, config: Config) -> bool:
    """Whether a system can rank the passages of another collection: rankings and vectors of elsewhere cannot."""
    system = config.systems.get(name)
    if system is None or system.retriever in ("deepct", "letor", "run", "vectors"):
        return False
    return system.rerank is None or can_move(system.rerank.system, config)


def splits_of(collection: Collection, split: str) -> Splits:
    """The splits that are read of a collection: the one that counts, and what it is held out of."""
    return Splits(train="train" if collection.holdout else None, evaluate=(split,))


def _of_collection(at: str, collection: Collection, split: str, config: Config) -> Iterator[HardnegError]:
    read = {"collection": collection, "splits": splits_of(collection, split)}
    for fault in of_collection.problems(config.model_copy(update=read)):
        yield HardnegError(
            "A collection to evaluate on is not given correctly.", where=at, remedy=f"correct it:\n{fault}"
        )


def _own(at: str, entry: EvaluatedOn, config: Config) -> Iterator[HardnegError]:
    evaluated = config.splits.evaluate
    if entry.split not in evaluated:
        yield HardnegError(
            "The split of this study's own collection is not evaluated.",
            where=f"{at}.split",
            found=entry.split,
            expected=", ".join(evaluated),
            remedy="add it to splits.evaluate, or choose one of these.",
        )
    if entry.relevant_grade is not None:
        yield HardnegError(
            "The lowest relevant grade of this study's own collection is set for all its scores.",
            where=f"{at}.relevant_grade",
            found=str(entry.relevant_grade),
            remedy="set evaluation.relevant_grade, and remove the key here.",
        )
    own = (one for one in config.evaluate_on if one.collection is None and one.config is None)
    if entry is not next(one for one in own if one.split == entry.split):
        yield HardnegError(
            "A split of this study's own collection is given twice.",
            where=at,
            found=entry.split,
            remedy="remove one of the two, or say under `collection` or `config` which other one is meant.",
        )
