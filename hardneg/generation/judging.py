"""Which written texts can be used, and why the others cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hardneg.generation.settings import Kind
from hardneg.generation.types import Answer

YES_OR_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
THINKING = "<think>"
ENDED = ("stop", "length", "too_long")


def unusable(kind: Kind, answer: Answer, others: Iterable[str]) -> str:
    """Why a written text cannot be used, whatever it says; empty if it can.

    Args:
        kind: what was asked for.
        answer: the model's answer.
        others: the passages that answer the query, and texts that were accepted before.
    """
    text = answer.text.strip()
    if answer.finish == "length":
        return "cut off at max_new_tokens"
    if answer.finish == "too_long":
        return "the prompt is longer than the model reads"
    if answer.finish not in ENDED:
        return f"ended by the server: {answer.finish}"
    if not text:
        return "empty"
    if THINKING in text:
        return "holds the model's thinking"
    if kind == "queries" and "\n" in text:
        return "has several lines"
    if _plain(text) in {_plain(other) for other in others}:
        return "repeats another text of this query" if kind == "negatives" else "repeats another query of this passage"
    return ""


def failed(kind: Kind, check: Answer) -> str:
    """Why a text does not pass the model's own check; empty if it does."""
    found = YES_OR_NO.match(check.text)
    if found is None:
        return "the check is neither yes nor no"
    answers = found[1].lower() == "yes"
    if kind == "negatives" and answers:
        return "answers the query, says the check"
    if kind == "queries" and not answers:
        return "is not answered by the passage, says the check"
    return ""


def _plain(text: str) -> str:
    """A text without case and white space, to find it again."""
    return " ".join(text.casefold().split())
