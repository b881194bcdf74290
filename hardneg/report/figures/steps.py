"""Lines over training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from hardneg.report.figures.panels import legend, panels_of, say_if_empty
from hardneg.report.figures.style import (
    styled,
)


@styled
def draw_steps(
    panels: Sequence[tuple[pd.DataFrame, str, str]],
    styles: Mapping[str, dict[str, Any]],
    named: Mapping[str, str] | None = None,
) -> Figure:
    """Draw lines over training steps, one panel for each table (system, step, value), its y label and its y scale."""
    figure, axes = panels_of(len(panels))
    for panel, (rows, name, scale) in zip(axes, panels, strict=True):
        for system, line in rows.sort_values("step", kind="stable").groupby("system", sort=False):
            label = (named or {}).get(str(system), str(system))
            panel.plot(line["step"], line["value"], marker="o", markersize=2.5, label=label, **styles[str(system)])
        say_if_empty(panel, rows)
        panel.set_yscale(scale)
        if scale == "log":  # ranks: at least one decade from 1, so that some ticks have labels
            panel.set_ylim(0.9, max(12, 1.3 * rows["value"].max()))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel(name)
        if name.endswith("%"):
            panel.set_ylim(0, 102)
    axes[-1].set_xlabel("training step")
    legend(figure, axes)
    return figure
