"""From YAML files and command-line values to a validated `Config`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hardneg.config.checks import contradictions
from hardneg.config.config import Config
from hardneg.config.explain import explain
from hardneg.config.hints import did_you_mean
from hardneg.config.index import Index
from hardneg.config.tables import PassageFile, QrelsFile, QueryFile
from hardneg.errors import HardnegError
from hardneg.methods import published


def load(raw: Mapping[str, Any]) -> Config:
    """Fill in presets and validate a configuration.

    A system that is null is left out; this is how a file removes a system of the file that it extends.

    Raises:
        HardnegError: the configuration is wrong. There is one paragraph for each key at fault.
    """
    filled = dict(raw)
    systems = raw.get("systems")
    if isinstance(systems, Mapping):
        filled["systems"] = {
            name: system
            for given, own in systems.items()
            if own is not None
            for name, system in _expanded(given, own).items()
        }
        filled["systems"] |= _narrower(filled["systems"], raw.get("encoder"))
    try:
        config = Config.model_validate(filled)
    except ValidationError as fault:
        raise HardnegError("\n".join(str(explain(error)) for error in fault.errors())) from None
    problems = list(contradictions(config))
    if problems:
        raise HardnegError("\n".join(str(problem) for problem in problems))
    return config


# --- presets and recipes --------------------------------------------------------------------------------------------

REFERENCES = ("from", "system")
"""Keys that name systems; in a recipe `.step` there stands for another of its steps."""


def _expanded(name: str, own: Any) -> dict[str, Any]:
    """The systems that an entry under `systems` stands for: one, or one for each step of a recipe.

    A system's settings lie on top of its preset's. Those of a recipe's steps are given under `steps`; `from` is the
    first step's, and `train` is every step's, under what the step itself sets.

    Raises:
        HardnegError: the preset, or a step, is unknown.
    """
    if not isinstance(own, Mapping) or own.get("preset") is None:
        return {name: own}
    chosen, at = own["preset"], f"systems.{name}"
    if not isinstance(chosen, str) or chosen not in published.names():
        known = published.names()
        raise HardnegError(
            "Unknown preset.",
            where=f"{at}.preset",
            found=str(chosen),
            expected=", ".join(known),
            remedy=did_you_mean(str(chosen), known, "choose one of these; `hardneg methods` describes them."),
        )
    content = published.preset(chosen)
    if "steps" not in content:
        return {name: merge(content["system"], own)}
    given = own.get("steps") or {}
    _check_steps(at, chosen, content["steps"], own, given)
    expanded: dict[str, Any] = {}
    last = list(content["steps"])[-1]
    for number, (step, settings) in enumerate(content["steps"].items()):
        shared = {key: own[key] for key in ("from", "train") if key in own and (number == 0 or key == "train")}
        full = merge(merge(settings, shared), given.get(step) or {})
        label = name if step == last else f"{name}.{step}"
        expanded |= _expanded(label, _within(full, name, last))
    return expanded


def _narrower(systems: Mapping[str, Any], encoder: Any) -> dict[str, Any]:
    """A system for each dense one and each of `encoder.dims`: its vectors, cut to that width."""
    dims = encoder.get("dims") if isinstance(encoder, Mapping) else None
    if not isinstance(dims, list | tuple):
        return {}
    dense = [name for name, own in systems.items() if isinstance(own, Mapping) and _has_vectors(own)]
    return {f"{name}.dim{dim}": {"from": name, "trains": "nothing", "width": dim} for name in dense for dim in dims}


def _has_vectors(own: Mapping[str, Any]) -> bool:
    index = own.get("index")
    factory = index.get("factory", "Flat") if isinstance(index, Mapping) else index or "Flat"
    return own.get("retriever", "dense") == "dense" and own.get("width") is None and factory == "Flat"


def _check_steps(at: str, recipe: str, steps: Mapping[str, Any], own: Mapping[str, Any], given: Any) -> None:
    unknown = [key for key in own if key not in ("preset", "from", "train", "steps")]
    wrong = [key for key in given if key not in steps] if isinstance(given, Mapping) else [str(given)]
    if unknown or wrong:
        where, found = (f"{at}.{unknown[0]}", unknown[0]) if unknown else (f"{at}.steps", wrong[0])
        expected = "preset, from, train, steps" if unknown else ", ".join(steps)
        raise HardnegError(
            f"The recipe {recipe} has no such {'setting' if unknown else 'step'}.",
            where=where,
            found=found,
            expected=expected,
            remedy="set it for a step, under `steps`." if unknown else did_you_mean(found, steps, "name one of these."),
        )


def _within(settings: Any, name: str, last: str) -> Any:
    """A step's settings with `.step` as the name of that step's system."""
    if isinstance(settings, Mapping):
        return {
            key: (f"{name}{value}" if value != f".{last}" else name)
            if key in REFERENCES and isinstance(value, str) and value.startswith(".")
            else _within(value, name, last)
            for key, value in settings.items()
        }
    if isinstance(settings, list):
        return [_within(value, name, last) for value in settings]
    return settings


# --- merging --------------------------------------------------------------------------------------------------------

# A file may be written as its path alone and an index as its factory string. Any other text is the name of an answer.
# The keys laid over such a text tell which of the three it is.
BARE = {
    "path": {"path", *PassageFile.model_fields, *QueryFile.model_fields, *QrelsFile.model_fields},
    "factory": {*Index.model_fields},
}


def merge(base: Any, over: Any) -> Any:
    """Lay `over` on `base`, key by key.

    Settings of one method, collection or index mean nothing to another. So where `over` changes the `name` of an
    answer, the `format` of a collection or the `factory` of an index, it replaces all that `base` has there.
    """
    if isinstance(base, str) and isinstance(over, Mapping):
        base = {next((key for key, beside in BARE.items() if over.keys() & beside), "name"): base}
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    # A collection has a name too, but another name alone does not make it another collection.
    kind = next((key for key in ("format", "factory") if key in base), "name")
    if kind in base and over.get(kind, base[kind]) != base[kind]:
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}


# --- files ----------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file, laid on the file that it `extends:` (a path relative to it), and so on.

    Raises:
        HardnegError: a file is missing, is not a YAML mapping, or extends itself.
    """
    layers: list[dict[str, Any]] = []
    seen: list[Path] = []
    following: Path | None = path
    while following is not None:
        if following.resolve() in seen:
            raise HardnegError(
                "Configuration files extend each other in a circle.",
                where=str(following),
                remedy="remove one `extends:`.",
            )
        content = _read_layer(following, str(seen[-1]) if seen else "--configfile")
        seen.append(following.resolve())
        base = content.pop("extends", None)
        layers.append(content)
        following = (following.parent / base) if base else None
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = merge(merged, layer)
    return merged


def _read_layer(path: Path, named_in: str) -> dict[str, Any]:
    """One file by itself; `named_in` is the file or option that names it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HardnegError(
            "A configuration file does not exist.", where=named_in, found=str(path), remedy="correct the path."
        ) from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise HardnegError(
            "A configuration file is not valid YAML.",
            where=f"{path}{line}",
            found=str(getattr(fault, "problem", fault)),
            remedy="fix that line.",
        ) from None
    if not isinstance(content, dict):
        raise HardnegError(
            "A configuration file is not a YAML mapping.",
            where=str(path),
            found=type(content).__name__,
            expected="key: value lines",
            remedy="see config.yaml for an example.",
        )
    return content
