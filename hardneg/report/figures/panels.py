"""Panels, their common legend, and a note in those without data."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardneg.report.figures.style import (
    WIDTH,
)


def panels_of(count: int) -> tuple[Figure, list[Axes]]:
    """A figure one column wide with `count` panels, one below the other."""
    figure = Figure(figsize=(WIDTH, 0.5 + 1.5 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def say_if_empty(panel: Axes, rows: pd.DataFrame) -> None:
    """Write "nothing was measured" into a panel that has no rows."""
    if rows.empty:
        panel.text(0.5, 0.5, "nothing was measured", transform=panel.transAxes, ha="center", color="#777777")


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put one legend below all panels, each name once. The figure grows by the legend's height."""
    entries = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if not entries:
        return
    columns = max(1, min(3, int(WIDTH / (0.55 + 0.062 * max(map(len, entries))))))
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, handlelength=2.6)
    figure.set_figheight(figure.get_figheight() + 0.15 * -(-len(entries) // columns))
