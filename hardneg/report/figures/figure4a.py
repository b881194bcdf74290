"""Figure 4a: overlap of static hard negatives with the live top ranks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from hardneg.report.claims.differences import LEVEL, p_text
from hardneg.report.claims.signs import holm, sign_test
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.steps import draw_steps
from hardneg.report.figures.style import (
    line_styles,
)
from hardneg.report.material import Material

_LOW = 10  # beyond this median rank, static negatives count as ranked very low
NOTE = (
    "Sign tests over the evaluated steps, with Holm's correction: in more than half of them, p < "
    f"{LEVEL}. Steps of one training are not independent, so this is weaker evidence than the p-value says."
)


def figure4a(material: Material, trajectory: pd.DataFrame) -> Content:
    """The overlap of static hard negatives with the live top ranks during training."""
    overlap = trajectory[trajectory["name"].str.startswith("overlap@")]
    depth = overlap["name"].iloc[0].removeprefix("overlap@") if len(overlap) else "K"
    rank = trajectory[trajectory["name"] == "best static rank"]
    found = [*_overlaps(overlap), *_ranks(rank)]
    claims = [
        Claim(p < LEVEL, f"{numbers} ({p_text(p)})", refuted)
        for (numbers, _, refuted), p in zip(found, holm([p for _, p, _ in found]), strict=True)
    ]
    panels = [(overlap.assign(value=100 * overlap["value"]), f"overlap with the live\ntop-{depth}, %", "linear")]
    panels += [(rank, "rank of the best\nstatic negative", "log")] if len(rank) else []
    return {
        "caption": f"Static hard negatives during training of the query encoder on {material.dataset}: the share of a "
        f"query's static list in the live top-{depth} of passages not judged relevant. Mean over the queries of a "
        "training step, with the vectors of that step (dropout on)."
        + (" Bottom: the rank of the best static negative, median over these queries." if len(rank) else ""),
        "paper": "On MS MARCO, starting from BM25 Neg, static hard negatives are quickly ranked very low. The overlap "
        "always stays below a limit, because static lists cannot follow the noise of dropout.",
        "here": verdict(claims, NOTE, "no tracked system trains on static lists"),
        "figure": partial(draw_steps, panels, line_styles(material)),
    }


def _overlaps(rows: pd.DataFrame) -> Iterator[tuple[str, float, str]]:
    """By system: whether the overlap is below its start in most evaluations, the p-value, and what would refute it."""
    for system, own in rows.sort_values("step").groupby("system", sort=False):
        line = own.set_index("step")["value"]
        first, later = line.iloc[0], line.iloc[1:]
        below = int((later < first).sum())
        numbers = (
            f"the overlap of {system} starts at {first:.0%}, is below that in {below} of {len(later)} later "
            f"evaluations, and lies between {line.min():.0%} and {line.max():.0%}"
        )
        refuted = "the overlap stays at its start or rises in half of the evaluations"
        yield numbers, sign_test(below, len(later)), refuted


def _ranks(rows: pd.DataFrame) -> Iterator[tuple[str, float, str]]:
    """By system: whether the best static negative ranks very low in most evaluations."""
    for system, own in rows.sort_values("step").groupby("system", sort=False):
        later = own["value"].iloc[1:]
        low = int((later > _LOW).sum())
        numbers = (
            f"the best static negative of {system} ranks beyond {_LOW} in {low} of {len(later)} evaluations after the "
            f"first, last at {own['value'].iloc[-1]:g}"
        )
        yield numbers, sign_test(low, len(later)), f"it stays within the first {_LOW} in half of the evaluations"
