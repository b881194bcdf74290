"""Names of measures, as commonly written, and their meanings. Quick to import, since every start of Snakemake does."""

from __future__ import annotations

import re
from typing import NamedTuple

from hardneg.errors import HardnegError, nearest


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

_NAME = re.compile(r"(?P<base>[A-Za-z]+)(@(?P<cut>[1-9][0-9]*))?")


def split_name(name: str, where: str | None = None) -> tuple[str, int | None]:
    """The measure (a key of `KNOWN`) and the cut-off, or None, of a name such as MRR@10.

    Args:
        name: what the user wrote.
        where: the configuration key, for the message.

    Raises:
        HardnegError: the measure is unknown, or lacks a required cut-off.
    """
    match = _NAME.fullmatch(name)
    known = KNOWN.get(match["base"]) if match else None
    if match is None or known is None or (known.needs_cut and match["cut"] is None):
        by_lower_case = {key.casefold(): key for key in KNOWN}
        close = nearest(name.partition("@")[0].casefold(), by_lower_case)
        raise HardnegError(
            "Unknown effectiveness measure.",
            where=where,
            found=name,
            expected=", ".join(f"{key}@k" if entry.needs_cut else f"{key} or {key}@k" for key, entry in KNOWN.items()),
            remedy=f"did you mean {by_lower_case[close]}@10?" if close else "choose one of these, with a number for k.",
        )
    return match["base"], int(match["cut"]) if match["cut"] else None


def meaning(name: str) -> str:
    """The definition of a measure for one query, in one phrase; reports show its mean over queries."""
    base, cut = split_name(name)
    return KNOWN[base].meaning.format(cut=f" in the first {cut}" if cut else "")


def lower_is_better(name: str) -> bool:
    """Whether lower values of a measure are better."""
    return KNOWN[split_name(name)[0]].complement
