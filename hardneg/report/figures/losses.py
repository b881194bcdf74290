"""The loss of each training, from its log."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hardneg.report.content import Content
from hardneg.report.figures.style import WIDTH, line_styles, styled
from hardneg.report.material import Material

COLUMNS = 2
HIGH = 0.95  # inches; a panel's
LINE = 18  # characters of a title


def losses(material: Material, found: pd.DataFrame) -> Content:
    """A panel for each training: its losses have their own scale."""
    ends = found.groupby("system", sort=False)["loss"].agg(["first", "last"])
    said = "; ".join(f"{system} {first:.3g} to {last:.3g}" for system, first, last in ends.itertuples(name=None))
    return {
        "caption": f"Training loss on {material.dataset} by step, as logged (of a system that is trained in rounds: "
        "the last round). Each panel has its own scale, since losses of different methods cannot be compared.",
        "here": f"First and last logged loss: {said}.",
        "figure": partial(_draw, found, line_styles(material)),
    }


@styled
def _draw(found: pd.DataFrame, styles: Mapping[str, dict[str, Any]]) -> Figure:
    systems = list(found["system"].unique())
    rows = -(-len(systems) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.2 + HIGH * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, system in zip(panels, systems, strict=False):
        own = found[found["system"] == system]
        panel.plot(own["step"], own["loss"], label=system, color=styles[system]["color"])
        panel.set_title(fill(system, LINE), fontsize=7, loc="left")
        panel.set_xlim(left=0)
        panel.set_ylabel("loss")
    for panel in panels[len(systems) :]:
        figure.delaxes(panel)
    for panel in panels[max(0, len(systems) - COLUMNS) : len(systems)]:
        panel.set_xlabel("step")
    return figure
