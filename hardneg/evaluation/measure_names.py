"""Names of measures, as commonly written, and their meanings. Quick to import, since every start of Snakemake does."""

from __future__ import annotations

import re
from typing import NamedTuple

from hardneg.errors import HardnegError, nearest

OF_TRAINING = "{}, training queries"
"""The name of a measure over queries that an encoder trains on."""


class Known(NamedTuple):
    """A supported measure.

    Attributes:
        name: its name in ir_measures.
        needs_cut: whether it needs a cut-off, `@k`.
        meaning: its definition in one phrase.
        complement: whether it is 1 minus the value of ir_measures, and 0 for a query without hits; lower is better.
    """

    name: str
    needs_cut: bool
    meaning: str
    complement: bool = False


KNOWN = {
    "MRR": Known("RR", False, "one over the rank of the first relevant passage{cut}, 0 where there is none"),
    "nDCG": Known(
        "nDCG",
        False,
        "sum of grade / log2(rank + 1){cut}, over that of the best possible ranking of the judged passages",
    ),
    "R": Known("R", True, "share of the query's relevant passages that are found{cut}"),
    "P": Known("P", True, "share of relevant passages{cut}"),
    "MAP": Known("AP", False, "mean of the precision at each relevant passage{cut}, 0 for those not found"),
    "Success": Known("Success", True, "1 where a relevant passage is found{cut}, else 0"),
    "Judged": Known("Judged", False, "share of the passages{cut} that are judged at all for the query"),
    "Hole": Known("Judged", True, "share of the passages{cut} that are not judged for the query", complement=True),
}

BINARY = ("MRR", "R", "P", "MAP", "Success")
"""Measures that only ask whether a passage is relevant. The others use the grades themselves, or ask what is judged."""

_NAME = re.compile(r"(?P<base>[A-Za-z]+)(@(?P<cut>[1-9][0-9]*))?")
_GRADED = re.compile(r"(?P<base>[^()@]*)\((?P<given>[^()]*)\)(?P<cut>.*)")
_REL = re.compile(r"rel=(?P<grade>[1-9][0-9]*)")


class Name(NamedTuple):
    """What the name of a measure says.

    Attributes:
        base: a key of `KNOWN`.
        cut: the cut-off, or None.
        grade: the lowest relevant grade that it gives, or None: that of the split, from `evaluation.relevant_grade`.
    """

    base: str
    cut: int | None
    grade: int | None = None


def split_name(name: str, where: str | None = None) -> Name:
    """The parts of a name such as MRR@10, or R(rel=1)@100, as ir_measures writes a lowest relevant grade.

    Args:
        name: what the user wrote.
        where: the configuration key, for the message.

    Raises:
        HardnegError: the measure is unknown, lacks a required cut-off, has no lowest relevant grade, or gives another
            parameter than `rel`, or a grade below 1.
    """
    graded = _GRADED.fullmatch(name)
    bare = graded["base"] + graded["cut"] if graded else name
    match = _NAME.fullmatch(bare)
    known = KNOWN.get(match["base"]) if match else None
    if match is None or known is None or (known.needs_cut and match["cut"] is None):
        by_lower_case = {key.casefold(): key for key in KNOWN}
        close = nearest(bare.partition("@")[0].casefold(), by_lower_case)
        raise HardnegError(
            "Unknown effectiveness measure.",
            where=where,
            found=bare,
            expected=", ".join(f"{key}@k" if entry.needs_cut else f"{key} or {key}@k" for key, entry in KNOWN.items()),
            remedy=f"did you mean {by_lower_case[close]}@10?" if close else "choose one of these, with a number for k.",
        )
    cut = int(match["cut"]) if match["cut"] else None
    grade = _grade(name, match["base"], bare, graded, where) if graded else None
    return Name(match["base"], cut, grade)


def _grade(name: str, base: str, bare: str, graded: re.Match[str], where: str | None) -> int:
    found = _REL.fullmatch(graded["given"])
    if base not in BINARY:
        raise HardnegError(
            "This measure has no lowest relevant grade.",
            where=where,
            found=name,
            expected=f"(rel=...) only with {', '.join(BINARY)}",
            remedy=f"write {bare}.",
        )
    if found is None:
        raise HardnegError(
            "A measure has an unknown parameter.",
            where=where,
            found=name,
            expected="(rel=...) with the lowest relevant grade, 1 or more",
            remedy=f"write {base}(rel=1){graded['cut']}, or {bare} for the grade of evaluation.relevant_grade.",
        )
    return int(found["grade"])


def meaning(name: str) -> str:
    """The definition of a measure for one query, in one phrase; reports show its mean over queries."""
    base, cut, grade = split_name(name)
    at = "" if grade is None else f"; relevant means grade {grade} or more, whatever the split's own"
    return KNOWN[base].meaning.format(cut=f" in the first {cut}" if cut else "") + at


def lower_is_better(name: str) -> bool:
    """Whether lower values of a measure are better."""
    return KNOWN[split_name(name).base].complement
