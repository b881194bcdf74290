"""Claims of the paper, and the sentence that says which of them these data show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TESTED = "Paired t-tests with Holm's correction over the pairs named here."
UNTESTED = "These differences were not tested."


class Claim(NamedTuple):
    """Whether a claim shows on these data.

    Attributes:
        holds: whether it shows.
        numbers: the numbers that decide it, as a clause that is true either way.
        refuted: what would refute it, as a clause.
    """

    holds: bool
    numbers: str
    refuted: str


def verdict(claims: Sequence[Claim], note: str, otherwise: str) -> str:
    """Say which claims show, and what would refute them.

    Args:
        claims: the claims that these data can decide.
        note: how certain the verdict is.
        otherwise: the reason why there are no such claims, used only then.
    """
    if not claims:
        return f"Cannot be checked here: {otherwise}."
    shown = "; ".join(claim.numbers for claim in claims if claim.holds)
    missing = "; ".join(claim.numbers for claim in claims if not claim.holds)
    if not missing:
        said = f"It shows here: {shown}."
    elif shown:
        said = f"It shows in part: {shown}. It does not show: {missing}."
    else:
        said = f"It does not show here: {missing}."
    refuted = "; ".join(dict.fromkeys(claim.refuted for claim in claims))
    return f"{said} {note} It would be refuted if {refuted}."
