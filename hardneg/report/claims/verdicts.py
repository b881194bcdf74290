"""Claims of the paper, and the sentence that says which of them are confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TESTED = "Paired t-tests with Holm's correction over the pairs named here."
UNTESTED = "These differences were not tested."


class Claim(NamedTuple):
    """Whether a claim holds, and the numbers that decide it, as a clause that is true either way."""

    holds: bool
    numbers: str


def verdict(claims: Sequence[Claim], note: str, otherwise: str) -> str:
    """A sentence that says which claims are confirmed.

    Args:
        claims: the claims that these data can decide.
        note: how certain the verdict is.
        otherwise: the reason why there are no such claims, used only then.
    """
    if not claims:
        return f"Cannot be checked here: {otherwise}."
    confirmed = "; ".join(claim.numbers for claim in claims if claim.holds)
    missing = "; ".join(claim.numbers for claim in claims if not claim.holds)
    if not missing:
        return f"Confirmed here: {confirmed}. {note}"
    return (
        f"Partly confirmed here: {confirmed}. Not confirmed: {missing}. {note}"
        if confirmed
        else f"Not confirmed here: {missing}. {note}"
    )
