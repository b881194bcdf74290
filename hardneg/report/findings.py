"""What numbers say about a claim: what a system is trained with, tested differences, verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from hardneg.report.material import Material

LEVEL = 0.05
TESTED = "Paired t-tests with Holm's correction over the pairs named here."
UNTESTED = "These differences were not tested."
WITH_BOTH = ("random", "static hard", "STAR")


class Claim(NamedTuple):
    """Something that may show: whether it does, and the numbers that decide, as a clause that is true either way."""

    holds: bool
    numbers: str


class Difference(NamedTuple):
    """Means of a system and of its baseline, and the corrected p-value of the paired t-test between them."""

    system: str
    baseline: str
    value: float
    other: float
    p: float

    @property
    def higher(self) -> bool:
        """The system's mean is significantly the higher one."""
        return self.value > self.other and self.p < LEVEL

    @property
    def lower(self) -> bool:
        """The system's mean is significantly the lower one."""
        return self.value < self.other and self.p < LEVEL

    def text(self, digits: int = 4) -> str:
        """Both means and the test."""
        p = "p < 0.0001" if self.p < 0.0001 else f"p = {self.p:.4f}"
        certainty = p if self.p < LEVEL else f"{p}, not significant"
        return f"{self.system} {self.value:.{digits}f} against {self.baseline} {self.other:.{digits}f} ({certainty})"


def kinds(systems: pd.DataFrame) -> dict[str, str]:
    """What each system is trained with, read from its answers and never from its name.

    Args:
        systems: as `Material.systems`.

    Returns:
        by system: `random` (drawn from the collection, or the batch alone), `static hard` (a mined ranking alone),
        `STAR` (that of a trained system, and the batch), `ADORE` (the live index, lambda-weighted), `dynamic` (the live
        index, otherwise), `other`. Of the first two, those that train nothing else end with ` (query encoder)`.
    """
    return {
        str(row["system"]): _kind({str(key): str(value) for key, value in row.items()}) for _, row in systems.iterrows()
    }


def of_kind(material: Material, *wanted: str) -> list[str]:
    """The systems of some kinds, in order."""
    return [system for system, kind in kinds(material.systems).items() if kind in wanted]


def starts(material: Material) -> dict[str, str]:
    """What each system starts from; those that start from nothing, or are served by another index, are left out."""
    given = material.systems[["system", "starts_from", "index"]].fillna("")
    index = dict(zip(given["system"], given["index"], strict=True))
    return {
        system: start for system, start, own in given.itertuples(index=False) if start and index.get(start, own) == own
    }


def tested(per_query: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Test pairs of systems (methods 2.5), with Holm's correction over these pairs.

    Args:
        per_query: system, query_id, value.
        pairs: (system, baseline), each scored on the same queries.
    """
    from hardneg.evaluation.measures import significance_table

    if not pairs:
        return []
    means = per_query.groupby("system")["value"].mean()
    # Here the t-test decides: no random signs are drawn.
    tests = significance_table(per_query.assign(split="", measure=""), pairs, resamples=0)
    return [
        Difference(*pair, means[pair[0]], means[pair[1]], p) for pair, p in zip(pairs, tests["p_t_holm"], strict=True)
    ]


def scores(material: Material) -> pd.DataFrame:
    """The rows of `Material.per_query` that rank systems: the report's split, the main measure."""
    rows = material.per_query
    return rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]


def measured(material: Material, split: str, measure: str) -> pd.Series:
    """Means by system."""
    chosen = material.measures
    return chosen[(chosen["split"] == split) & (chosen["measure"] == measure)].set_index("system")["value"]


def queries_of(material: Material, split: str) -> int:
    """How many queries of a split are scored."""
    return int(material.per_query.loc[material.per_query["split"] == split, "query_id"].nunique())


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


def _kind(row: dict[str, str]) -> str:
    source = row["source"].split(" ")[0]
    if source == "live":
        return "ADORE" if row["loss"] == "lambda_ranknet" else "dynamic"
    end = "" if row["trains"].startswith("both") else " (query encoder)"
    in_batch = row["batch"] == "in_batch"
    if source == "random" or (source == "none" and in_batch):
        return f"random{end}"
    if source in ("run", "self") and not in_batch:
        return f"static hard{end}"
    return "STAR" if source == "run" and row["starts_from"] not in ("", "nan", "None") else "other"
