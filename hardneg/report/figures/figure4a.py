"""Figure 4a: overlap of static hard negatives with the live top ranks."""

from __future__ import annotations

from functools import partial

import pandas as pd

from hardneg.report.claims.verdicts import UNTESTED, Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.steps import draw_steps
from hardneg.report.figures.style import (
    line_styles,
)
from hardneg.report.material import Material

_LOW = 10  # beyond this median rank, static negatives count as ranked very low


def figure4a(material: Material, trajectory: pd.DataFrame) -> Content:
    """The overlap of static hard negatives with the live top ranks during training."""
    overlap = trajectory[trajectory["name"].str.startswith("overlap@")]
    depth = overlap["name"].iloc[0].removeprefix("overlap@") if len(overlap) else "K"
    rank = trajectory[trajectory["name"] == "best static rank"]
    claims = []
    for system, rows in overlap.sort_values("step").groupby("system", sort=False):
        line = rows.set_index("step")["value"]
        first, highest, lowest, at = line.iloc[0], line.max(), line.min(), int(line[line == line.min()].index[0])
        numbers = (
            f"{system} starts at {first:.0%}, never exceeds {highest:.0%} and falls to {lowest:.0%} at step {at:,}"
        )
        claims.append(Claim(bool(highest < 1 and lowest < first), numbers))
    for system, rows in rank.sort_values("step").groupby("system", sort=False):
        step, last = int(rows["step"].iloc[-1]), rows["value"].iloc[-1]
        low = f"the best static negative of {system} ranks {last:g} at step {step:,} (very low: beyond {_LOW})"
        claims.append(Claim(bool(last > _LOW), low))
    panels = [(overlap.assign(value=100 * overlap["value"]), f"overlap with the live\ntop-{depth}, %", "linear")]
    panels += [(rank, "rank of the best\nstatic negative", "log")] if len(rank) else []
    return {
        "caption": f"Static hard negatives during training of the query encoder on {material.dataset}: the share of a "
        f"query's static list in the live top-{depth} of passages not judged relevant. Mean over the queries of a "
        "training step, with the vectors of that step (dropout on)."
        + (" Bottom: the rank of the best static negative, median over these queries." if len(rank) else ""),
        "paper": "On MS MARCO, starting from BM25 Neg, static hard negatives are quickly ranked very low. The overlap "
        "always stays below a limit, because static lists cannot follow the noise of dropout.",
        "here": verdict(claims, UNTESTED, "no tracked system trains on static lists"),
        "figure": partial(draw_steps, panels, line_styles(material)),
    }
