"""`hardneg methods`: the questions, the answers, the presets and recipes."""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hardneg.errors import HardnegError, nearest
from hardneg.methods import published
from hardneg.methods.axes import AXES, answers
from hardneg.methods.base import NEEDS, Answer

WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 100)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    command.add_argument("name", nargs="?", help="an answer, preset or recipe to describe; without it, list all")


def run(given: argparse.Namespace) -> None:
    """Print them."""
    print("\n".join(_all() if given.name is None else _one(given.name)))


def _all() -> Iterator[str]:
    for key, axis in AXES.items():
        yield f"\n{key}: {axis.question}"
        for name, answer in answers(key).items():
            yield _entry(name, _first_sentence(answer))
    yield "\npresets and recipes (`preset:` of a system)"
    for name in published.names():
        yield _entry(name, published.preset(name)["about"])
    yield "\n`hardneg methods NAME` describes one."


def _one(name: str) -> Iterator[str]:
    """An answer, a preset, or both where they share a name.

    Raises:
        HardnegError: there is neither.
    """
    found = [(key, answers(key)[name]) for key in AXES if name in answers(key)]
    known = [*published.names(), *(other for key in AXES for other in answers(key))]
    if not found and name not in published.names():
        near = nearest(name, known)
        raise HardnegError(
            "There is no such method.",
            where="hardneg methods",
            found=name,
            remedy=f"did you mean {near}?" if near else "`hardneg methods` lists all.",
        )
    for key, answer in found:
        yield from _answer(key, answer)
    if name in published.names():
        yield from _preset(name, published.preset(name))


def _answer(key: str, answer: type[Answer]) -> Iterator[str]:
    yield f"{answer.model_fields['name'].default}: an answer to `{key}`. {AXES[key].question}"
    yield ""
    yield inspect.cleandoc(answer.__doc__ or "")
    fields = {name: field for name, field in answer.model_fields.items() if name != "name"}
    if fields:
        yield "\nsettings"
    for name, field in fields.items():
        default = "required" if field.is_required() else json.dumps(field.default)
        yield _entry(f"{name} = {default}", field.description or "", width=24)
    for title, needs in (("needs", answer.needs), ("provides", answer.provides)):
        if needs:
            yield f"\n{title}"
            yield from (_entry(need, NEEDS[need]) for need in sorted(needs))


def _preset(name: str, content: Mapping[str, Any]) -> Iterator[str]:
    kind = "recipe" if "steps" in content else "preset"
    yield f"{name}: a {kind}"
    for part in published.PAGE:
        if part in content:
            yield f"\n{part}"
            yield textwrap.indent(textwrap.fill(" ".join(str(content[part]).split()), WIDTH - 2), "  ")
    yield f"\n{'steps' if 'steps' in content else 'answers'}"
    for key, value in content.get("steps", content.get("system")).items():
        yield _entry(key, _plain(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")


def _first_sentence(answer: type[Answer]) -> str:
    return " ".join(inspect.cleandoc(answer.__doc__ or "").split("\n\n")[0].split())


def _entry(name: str, text: str, width: int = 16) -> str:
    indent = " " * (width + 4)
    return textwrap.fill(text, WIDTH, initial_indent=f"  {name:<{width}}  ", subsequent_indent=indent) or f"  {name}"
