"""The main measure of every system, with 95% confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import special

from hardneg.report.claims.values import queries_of, scores
from hardneg.report.content import Content
from hardneg.report.figures.panels import legend
from hardneg.report.figures.style import (
    COLOURS,
    WIDTH,
    families,
    styled,
)
from hardneg.report.material import Material


def effectiveness(material: Material) -> Content:
    """The main measure of each system, with 95% t intervals of the mean."""
    found = scores(material).groupby("system", sort=False)["value"].agg(["mean", "std", "count"])
    half = special.stdtrit(found["count"] - 1, 0.975) * found["std"] / np.sqrt(found["count"])
    best = str(found["mean"].idxmax())
    reaching = int((found["mean"] + half >= found["mean"][best] - half[best]).sum()) - 1
    return {
        "caption": f"{material.main_measure} on {material.split} of {material.dataset}: mean over "
        f"{queries_of(material, material.split):,} queries with 95% confidence intervals (Student's t). Colours: the "
        "negatives used in training. All systems are scored on the same queries, so overlapping intervals do not mean "
        "that two systems are equal; see the paired tests.",
        "here": f"{best} has the highest mean, {found['mean'][best]:.4f} ± {half[best]:.4f}. Its interval overlaps "
        f"with the intervals of {reaching} of the {len(found) - 1} other systems.",
        "figure": partial(
            _draw_bars, found["mean"], half.fillna(0), families(material), f"{material.main_measure}, {material.split}"
        ),
    }


@styled
def _draw_bars(values: pd.Series, half: pd.Series, families: Mapping[str, str], label: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.7 + 0.19 * len(values)), layout="constrained")
    panel = figure.subplots()
    for family, colour in COLOURS.items():
        places = [place for place, system in enumerate(values.index) if families[system] == family]
        if places:
            chosen, error = values.iloc[places], half.iloc[places]
            panel.barh(places, chosen, xerr=error, color=colour, height=0.7, ecolor="#333333", label=family)
    for place, (value, error) in enumerate(zip(values, half, strict=True)):
        at = (value + error, place)
        panel.annotate(f"{value:.3f}", at, (3, 0), textcoords="offset points", va="center", fontsize=7)
    panel.set_yticks(range(len(values)), values.index)
    panel.set_xlim(0, max(1.16 * (values + half).max(), 1e-3))
    panel.set_xlabel(label)
    panel.invert_yaxis()
    legend(figure, [panel])
    return figure
