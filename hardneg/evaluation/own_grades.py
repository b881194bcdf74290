"""Names of measures that give their own lowest relevant grade, as ir_measures writes them: `R(rel=1)@100`.

A measure without `(rel=...)` takes the grade of its split, from `evaluation.relevant_grade`. Only the stage that scores
runs, and what is shown of its scores, knows names of both forms; analyses and model cards take the split's grade.
"""

from __future__ import annotations

import re

from hardneg.errors import HardnegError
from hardneg.evaluation import measure_names

BINARY = ("MRR", "R", "P", "MAP", "Success")
"""Measures that only ask whether a passage is relevant. The others use the grades themselves, or ask what is judged."""

_GRADED = re.compile(r"(?P<base>[^()@]*)\((?P<given>[^()]*)\)(?P<cut>.*)")
_REL = re.compile(r"rel=(?P<grade>[1-9][0-9]*)")


def split_grade(name: str, where: str | None = None) -> tuple[str, int | None]:
    """The name without its grade, and the grade, or None: `R(rel=1)@100` is R@100 at grade 1.

    Args:
        name: what the user wrote.
        where: the configuration key, for the message.

    Raises:
        HardnegError: the measure is unknown, lacks a required cut-off, has no lowest relevant grade, or gives another
            parameter than `rel`, or a grade below 1.
    """
    graded = _GRADED.fullmatch(name)
    bare = graded["base"] + graded["cut"] if graded else name
    base, _ = measure_names.split_name(bare, where)
    if graded is None:
        return name, None
    grade = _REL.fullmatch(graded["given"])
    if base not in BINARY:
        raise HardnegError(
            "This measure has no lowest relevant grade.",
            where=where,
            found=name,
            expected=f"(rel=...) only with {', '.join(BINARY)}",
            remedy=f"write {bare}.",
        )
    if grade is None:
        raise HardnegError(
            "A measure has an unknown parameter.",
            where=where,
            found=name,
            expected="(rel=...) with the lowest relevant grade, 1 or more",
            remedy=f"write {base}(rel=1){graded['cut']}, or {bare} for the grade of evaluation.relevant_grade.",
        )
    return bare, int(grade["grade"])


def meaning(name: str) -> str:
    """The definition of a measure for one query, in one phrase, with its own grade if it gives one."""
    bare, grade = split_grade(name)
    at = "" if grade is None else f"; relevant means grade {grade} or more, whatever the split's own"
    return measure_names.meaning(bare) + at


def lower_is_better(name: str) -> bool:
    """Whether lower values of a measure are better."""
    return measure_names.lower_is_better(split_grade(name)[0])
