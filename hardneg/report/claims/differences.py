"""Paired tests between systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

LEVEL = 0.05


class Difference(NamedTuple):
    """The means of a system and its baseline, and the corrected p-value of their paired t-test."""

    system: str
    baseline: str
    value: float
    other: float
    p: float

    @property
    def higher(self) -> bool:
        """Whether the system's mean is significantly higher."""
        return self.value > self.other and self.p < LEVEL

    @property
    def lower(self) -> bool:
        """Whether the system's mean is significantly lower."""
        return self.value < self.other and self.p < LEVEL

    def text(self, digits: int = 4) -> str:
        """Both means and the p-value, in words."""
        against = f"{self.system} {self.value:.{digits}f} against {self.baseline} {self.other:.{digits}f}"
        return f"{against} ({p_text(self.p)})"


def p_text(p: float) -> str:
    """A p-value in words."""
    text = "p <.0001" if p < 0.0001 else f"p = {p:.4f}".replace("= 0", "= ")
    return text if p < LEVEL else f"{text}, not significant"


def tested(per_query: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Paired t-tests (methods 2.5) with Holm's correction over all given pairs.

    Args:
        per_query: system, query_id, value.
        pairs: (system, baseline), both scored on the same queries.
    """
    from hardneg.evaluation.measures import significance_table

    if not pairs:
        return []
    means = per_query.groupby("system")["value"].mean()
    # Only the t-test is used, so the randomisation test is skipped.
    tests = significance_table(per_query.assign(split="", measure=""), pairs, resamples=0)
    return [
        Difference(*pair, means[pair[0]], means[pair[1]], p) for pair, p in zip(pairs, tests["p_t_holm"], strict=True)
    ]
