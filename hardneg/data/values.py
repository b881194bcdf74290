"""Passages, queries and judgements from the values of a record's fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.lines import grade_of, id_of, valid_text
from hardneg.errors import HardnegError

WHOLE = re.compile(r"(?<=[0-9])\.0*$")


def passage_of(record: Mapping[str, Any], where: str) -> Passage:
    """A passage from the values of its fields.

    Raises:
        HardnegError: the id is missing or empty, or a value is no text.
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
        HardnegError: the id is missing or empty, or the text is none.
    """
    return Query(id_of(record["id"], "query id", where), text_or_empty(record["text"], "text", where), where)


def judgement_of(record: Mapping[str, Any], where: str) -> Judgement:
    """A judgement from the values of its fields; of grade 1 where there are no grades.

    Raises:
        HardnegError: an id is missing or empty, or the grade is no whole number.
    """
    query, passage = id_of(record["query"], "query id", where), id_of(record["passage"], "passage id", where)
    return Judgement(query, passage, whole_grade(record.get("grade", 1), where), where)


def text_or_empty(value: Any, name: str, where: str) -> str:
    """The text of a field; nothing where there is no value.

    Raises:
        HardnegError: the value is no text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return valid_text(value, name, where)
    raise HardnegError(
        f"The value of `{name}` cannot be used.",
        where=where,
        found=repr(value)[:80],
        expected="text",
        remedy="correct the value.",
    )


def whole_grade(value: Any, where: str) -> int:
    """A grade that may come as text, as an integer or as a float without a fraction.

    Raises:
        HardnegError: it is no whole number.
    """
    if isinstance(value, float) and value.is_integer():
        return grade_of(str(int(value)), where)
    return grade_of(WHOLE.sub("", str(value).strip()), where)  # 1.0 is what many programs write of a whole number
