"""Passages, queries and judgements from the values of a record's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.lines import grade_of, id_of, valid_text
from hardneg.errors import HardnegError


def passage_of(record: Mapping[str, Any], where: str) -> Passage:
    """A passage from the values of its fields.

    Raises:
        HardnegError: the id is missing or empty, or a value is not a string.
    """
    return Passage(
        id_of(record["id"], "passage id", where),
        text_or_empty(record.get("title"), "title", where),
        text_or_empty(record["text"], "text", where),
        where,
        url=text_or_empty(record.get("url"), "url", where),
    )


def query_of(record: Mapping[str, Any], where: str) -> Query:
    """A query from the values of its fields.

    Raises:
        HardnegError: the id is missing or empty, or the text is not a string.
    """
    return Query(id_of(record["id"], "query id", where), text_or_empty(record["text"], "text", where), where)


def judgement_of(record: Mapping[str, Any], where: str) -> Judgement:
    """A judgement from the values of its fields. The grade is 1 if there is none.

    Raises:
        HardnegError: an id is missing or empty, or the grade is not an integer.
    """
    query, passage = id_of(record["query"], "query id", where), id_of(record["passage"], "passage id", where)
    return Judgement(query, passage, whole_grade(record.get("grade", 1), where), where)


def text_or_empty(value: Any, name: str, where: str) -> str:
    """The text of a field; empty if the value is null.

    Raises:
        HardnegError: the value is not a string.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return valid_text(value, name, where)
    raise HardnegError(
        f"The value of `{name}` is invalid.",
        where=where,
        found=repr(value)[:80],
        expected="a string",
        remedy="correct the value.",
    )


def whole_grade(value: Any, where: str) -> int:
    """A grade given as a string, an integer or a float without a fraction.

    Raises:
        HardnegError: it is not an integer.
    """
    if isinstance(value, float) and value.is_integer():
        return grade_of(str(int(value)), where)
    return grade_of(str(value).strip(), where)
