"""What pydantic refuses, in the words of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from hardneg.config.config import Config
from hardneg.config.hints import did_you_mean
from hardneg.errors import HardnegError
from hardneg.methods.base import Answer

# Pydantic's messages speak of dictionaries, instances and tuples; users write YAML.
SHAPES = dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "keys and values, `key: value`")
SHAPES |= {"tuple_type": "a list, `[a, b]`"}

LONGEST_VALUE = 80
"""Characters of a refused value that are shown."""


def explain(error: Any) -> HardnegError:
    """What one error of pydantic (an entry of `ValidationError.errors()`) means, with the key's path."""
    keys, models = _walk(error["loc"])
    where = ".".join(keys) or "the configuration"
    kind, context = error["type"], error.get("ctx", {})
    if "discriminator" in context:
        where += "." + str(context["discriminator"]).strip("'")
    if kind == "extra_forbidden":
        return _unknown_key(where, keys[-1], models)
    if kind in ("missing", "union_tag_not_found"):
        return HardnegError("A key is missing.", where=where, remedy="add it; config.yaml shows an example.")
    if kind in ("union_tag_invalid", "literal_error"):
        # Both list what is allowed as text: 'a', 'b' or 'c'.
        listed = context.get("expected_tags", context.get("expected", "")).replace(" or ", ",")
        allowed = [item.strip(" '") for item in listed.split(",")]
        return _unknown_value(where, str(context.get("tag", error["input"])), allowed)
    found = str(error["input"])
    return HardnegError(
        "A value is not allowed.",
        where=where,
        found=found if len(found) <= LONGEST_VALUE else found[: LONGEST_VALUE - 3] + "...",
        expected=SHAPES.get(kind, error["msg"]),
        remedy="correct it.",
    )


def _unknown_key(where: str, key: str, models: Sequence[type[BaseModel]]) -> HardnegError:
    allowed = [field.alias or name for name, field in models[-1].model_fields.items()] if models else []
    return HardnegError(
        "Unknown key.",
        where=where,
        found=key,
        expected=", ".join(allowed),
        remedy=did_you_mean(key, allowed, "remove it or use one of these."),
    )


def _unknown_value(where: str, found: str, allowed: Sequence[str]) -> HardnegError:
    return HardnegError(
        "Unknown value.",
        where=where,
        found=found,
        expected=", ".join(allowed),
        remedy=did_you_mean(found, allowed, "choose one of these."),
    )


# --- from pydantic's locations to keys ------------------------------------------------------------------------------


def _walk(location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The key path of a pydantic location, and the models on the way.

    A location also holds the tags of unions (`collection.beir.path`), which users do not write. They are left out.
    """
    keys: list[str] = []
    models: list[type[BaseModel]] = [Config]
    annotation: Any = Config
    for part in location:
        if _is_model(annotation):
            field = next((f for name, f in annotation.model_fields.items() if part in (name, f.alias)), None)
            keys.append(str(part))
            annotation = field.annotation if field is not None else None
        elif tagged := [member for member in _members(annotation) if _tag(member) == part]:
            annotation = tagged[0]
        elif isinstance(part, int) and get_origin(annotation) is tuple:
            keys += [str(part)] if part else []  # an answer may be written without its list
            annotation = get_args(annotation)[0]
        else:
            keys.append(str(part))
            annotation = get_args(annotation)[-1] if get_origin(annotation) is dict else None
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        plain = [member for member in _members(annotation) if _is_model(member)]
        if len(plain) == 1:
            annotation = plain[0]
        if _is_model(annotation):
            models.append(annotation)
    return keys, models


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> Iterator[Any]:
    """The types that a union is made of, however deep it is nested; a type that is no union is its own member."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _tag(member: Any) -> str | None:
    """The value by which a tagged union knows this member: an answer's name, or a collection's format."""
    if not _is_model(member):
        return None
    is_answer = "name" in member.model_fields and issubclass(member, Answer)
    field = member.model_fields.get("name" if is_answer else "format")
    return get_args(field.annotation)[0] if field is not None else None
