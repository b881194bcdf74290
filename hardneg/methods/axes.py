"""The questions about a system, and the answers that are registered to each: those in the axis's folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial, reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hardneg.methods.base import Answer

PACKAGE = "hardneg.methods"


@dataclass(frozen=True)
class Axis:
    """A question.

    Attributes:
        key: what it is called in a system.
        folder: of its answers, a package below `hardneg.methods`.
        question: in words.
        function: what an answer's function is called.
        default: the answer where a system gives none; None: no answer.
        several: whether a system may give several answers.
    """

    key: str
    folder: str
    question: str
    function: str
    default: str | None = None
    several: bool = False


AXES = {
    axis.key: axis
    for axis in (
        Axis("order", "order", "Which queries meet in a batch?", "rows", "shuffle"),
        Axis("source", "sources", "Where do candidates come from?", "candidates", "none", several=True),
        Axis("filter", "filters", "Which are thrown out?", "keep", several=True),
        Axis("sampler", "samplers", "Which are drawn?", "draw", "uniform"),
        Axis("refresh", "refresh", "When are they renewed?", "steps", "never"),
        Axis("labels", "labels", "Who says what is relevant?", "label", "judgements"),
        Axis("loss", "losses", "What is minimised?", "loss", "ranknet", several=True),
        Axis("batch", "batches", "What else is in the batch?", "compared", "own"),
    )
}


@cache
def answers(key: str) -> dict[str, type[Answer]]:
    """The answers of an axis by name, in the order of their files."""
    folder = import_module(f"{PACKAGE}.{AXES[key].folder}")
    found: dict[str, type[Answer]] = {}
    for entry in pkgutil.iter_modules(folder.__path__):
        module = import_module(f"{folder.__name__}.{entry.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Answer) and value.__module__ == module.__name__:
                found[value.model_fields["name"].default] = value
    return found


def root_of(key: str, answer: Answer | type[Answer]) -> str:
    """The function that implements an answer, as `module:name`, for the code revision of a stage."""
    return f"{answer.__module__ if isinstance(answer, type) else type(answer).__module__}:{AXES[key].function}"


def function_of(key: str, chosen: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of a validated answer (its name and settings), with the settings bound to it.

    The weight of a source or loss is left out: it says how several answers share, which is not the function's to know.
    """
    settings = {name: value for name, value in chosen.items() if name not in ("name", "weight")}
    module = import_module(answers(key)[chosen["name"]].__module__)
    return partial(getattr(module, AXES[key].function), **settings)


def answers_of(system: Any) -> Iterator[tuple[str, Answer]]:
    """The answers that a system gives, each with the key of its axis.

    Args:
        system: with an attribute for each axis.
    """
    for key in AXES:
        given = getattr(system, key)
        for answer in given if isinstance(given, tuple) else (given,):
            if answer is not None:
                yield key, answer


def annotation(key: str) -> Any:
    """The pydantic type of an axis: one of its answers, as a bare name where it has no settings; a tuple if several."""
    classes = tuple(answers(key).values())
    one: Any = Annotated[reduce(or_, classes), Field(discriminator="name")] if len(classes) > 1 else classes[0]
    one = Annotated[one, BeforeValidator(_named)]
    return Annotated[tuple[one, ...], BeforeValidator(_listed)] if AXES[key].several else one


def default_of(key: str) -> Any:
    """What an axis holds where a system gives no answer: one, a tuple of them, or None."""
    axis = AXES[key]
    answer = answers(key)[axis.default]() if axis.default is not None else None  # type: ignore[call-arg]
    if axis.several:
        return (answer,) if answer is not None else ()
    return answer


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    if isinstance(value, Mapping | str | Answer):
        return (value,)
    return value
