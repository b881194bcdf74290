"""The systems of a study on further collections: which collections, and what each system is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hardneg.config import Analyses, Collection, Config, Splits, System, load, read_yaml
from hardneg.config.checks.elsewhere import can_move, named_once, splits_of
from hardneg.config.elsewhere import EvaluatedOn
from hardneg.errors import HardnegError
from hardneg.stages.stage import Stage


@dataclass(frozen=True)
class Scored:
    """A collection, and what scores each system on it.

    Attributes:
        dataset: the collection's name.
        name: what stands for it: its name, or the split's where several splits of the study's own are listed.
        split: whose queries and judgements count.
        measures: the scores, by system.
    """

    dataset: str
    name: str
    split: str
    measures: dict[str, Stage]


@dataclass(frozen=True)
class Place:
    """A collection to evaluate on.

    Attributes:
        collection: its block; None for the study's own.
        read: the splits that it is prepared with. Those of the file that has it, so that both share what is prepared.
        entry: what asked for it.
    """

    collection: Collection | None
    read: Splits
    entry: EvaluatedOn


def places_of(config: Config) -> list[Place]:
    """The collections of `evaluate_on`, in order.

    Raises:
        HardnegError: a file that is named is wrong or does not evaluate the split, or names come twice.
    """
    found = [_place(f"evaluate_on.{number}", entry, config) for number, entry in enumerate(config.evaluate_on)]
    names = [place.collection.name for place in found if place.collection is not None]
    for problem in named_once(names, config.collection.name):
        raise problem
    return found


def moved(config: Config, place: Place) -> Config:
    """The configuration of a study that evaluates all systems of another on a further collection.

    A system there starts from `<collection>:<system>` of the study that it comes from, and trains nothing.

    Args:
        config: of the study that the systems come from.
        place: a collection that is not the study's own.
    """
    evaluation = config.evaluation
    if place.entry.relevant_grade is not None:
        evaluation = evaluation.model_copy(update={"relevant_grade": place.entry.relevant_grade})
    return config.model_copy(
        update={
            "collection": place.collection,
            "splits": Splits(train=None, evaluate=(place.entry.split,)),
            "studies": {},
            "systems": dict(_moved(config)),
            "evaluation": evaluation,
            "evaluate_on": (),
            "analyses": Analyses(pairwise_errors=None, negatives=None, agreement=None, examples=None),
            "export": (),
        }
    )


def _moved(config: Config) -> Iterator[tuple[str, System]]:
    for name, system in config.systems.items():
        if not can_move(name, config):
            continue
        if system.retriever == "bm25" or system.width is not None:  # it is cut of a system that moves too
            yield name, system
            continue
        answers = {"from": f"{config.collection.name}:{name}", "trains": "nothing", "retriever": system.retriever}
        yield name, System.model_validate({**answers, "rerank": system.rerank, "index": system.index})


def _place(at: str, entry: EvaluatedOn, config: Config) -> Place:
    if entry.config is None:
        collection = entry.collection
        return Place(collection, config.splits if collection is None else splits_of(collection, entry.split), entry)
    try:
        other = load(read_yaml(entry.config))
    except HardnegError as fault:
        raise HardnegError(
            "A configuration whose collection is evaluated on is wrong.",
            where=f"{at}.config: {entry.config}",
            remedy=f"correct it first:\n{fault}",
        ) from None
    if entry.split not in other.splits.evaluate:
        raise HardnegError(
            "The configuration whose collection is evaluated on does not evaluate this split.",
            where=f"{at}.split",
            found=entry.split,
            expected=f"{', '.join(other.splits.evaluate)}: splits.evaluate of {entry.config}",
            remedy="choose one of these, or add it there.",
        )
    return Place(other.collection, other.splits, entry)
