"""Claims and the sentence that says which of them hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TESTED = "Paired t-tests with Holm's correction over the pairs named here."
UNTESTED = "These differences were not tested."


class Claim(NamedTuple):
    """Something that may show: whether it does, and the numbers that decide, as a clause that is true either way."""

    holds: bool
    numbers: str


def verdict(claims: Sequence[Claim], note: str, otherwise: str) -> str:
    """Whether claims show, in words.

    Args:
        claims: those that can be looked at here.
        note: how sure that is.
        otherwise: why nothing can be told, where there are none.
    """
    if not claims:
        return f"It cannot be told here: {otherwise}."
    shown = "; ".join(claim.numbers for claim in claims if claim.holds)
    missing = "; ".join(claim.numbers for claim in claims if not claim.holds)
    if not missing:
        return f"It shows here: {shown}. {note}"
    return (
        f"It shows in part: {shown}. Not so: {missing}. {note}"
        if shown
        else f"It does not show here: {missing}. {note}"
    )
