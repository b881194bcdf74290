"""Variation across seeds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from hardneg.report.claims.values import queries_of
from hardneg.report.content import Content
from hardneg.report.figures.style import (
    COLOURS,
    WIDTH,
    families,
    styled,
)
from hardneg.report.material import Material


def seeds(material: Material, found: pd.DataFrame) -> Content:
    """The variation of every score across seeds."""
    spread = found.groupby(["system", "split", "measure"], sort=False)["value"].agg(
        ["count", "mean", "std", "min", "max"]
    )
    table = spread.reset_index().rename(columns={"count": "seeds", "std": "sd"})
    main = found[(found["split"] == material.split) & (found["measure"] == material.main_measure)]
    values = main.groupby("system", sort=False)["value"].agg(["mean", "std", "min", "max"])
    ranked = values.sort_values("mean", ascending=False, kind="stable")
    text = "Only one system was trained with several seeds."
    if len(ranked) > 1:
        (best, first), (second, next_) = ((str(name), row) for name, row in ranked.iloc[:2].iterrows())
        apart = "is above" if first["min"] > next_["max"] else "is not above"
        text = (
            f"The worst seed of {best} ({first['min']:.4f}) {apart} the best seed of {second} ({next_['max']:.4f}), "
            f"the runner-up by mean ({first['mean']:.4f} against {next_['mean']:.4f})."
        )
    family = families(material)
    return {
        "caption": f"Systems on {material.dataset} trained with {found['seed'].nunique()} seeds, including the systems "
        f"they build on: mean, standard deviation (n - 1), minimum and maximum. Figure: {material.main_measure} on "
        f"{material.split}, mean over {queries_of(material, material.split):,} queries; one dot per seed, a tick at "
        "the mean.",
        "here": text,
        "table": table,
        "digits": dict.fromkeys(["mean", "sd", "min", "max"], 4),
        "figure": partial(
            _draw_dots,
            main[["system", "value"]],
            {name: COLOURS[family[name]] for name in main["system"].unique()},
            f"{material.main_measure}, {material.split}",
        ),
    }


@styled
def _draw_dots(rows: pd.DataFrame, colours: Mapping[str, str], label: str) -> Figure:
    """Draw one row of dots per system, with a tick at the mean. `rows`: system, value."""
    systems = list(rows["system"].unique())
    figure = Figure(figsize=(WIDTH, 0.7 + 0.26 * len(systems)), layout="constrained")
    panel = figure.subplots()
    for place, system in enumerate(systems):
        values = rows.loc[rows["system"] == system, "value"]
        panel.plot(values, [place] * len(values), "o", color=colours[system], markersize=4.5, alpha=0.75, clip_on=False)
        panel.plot(values.mean(), place, "|", color="#000000", markersize=12, markeredgewidth=1.2)
    panel.set_yticks(range(len(systems)), systems)
    panel.set_ylim(len(systems) - 0.5, -0.5)
    panel.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel(label)
    return figure
