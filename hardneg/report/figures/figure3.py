"""Figure 3: the distribution of pairwise errors over queries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from hardneg.report.claims.concentration import HARDEST, RESAMPLES, concentration
from hardneg.report.claims.kinds import of_kind
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.panels import legend, panels_of
from hardneg.report.figures.style import (
    ORANGE,
    line_styles,
    styled,
)
from hardneg.report.material import Errors, Material

Shares = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""The percentage of queries, hardest first, and their percentage of all errors."""


def figure3(material: Material, errors: Errors) -> Content:
    """The distribution of pairwise errors over queries, and the share of the hardest queries."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)["errors"].sum()
    systems = list(by_query.index.get_level_values("system").unique())
    shares = pd.DataFrame([_shares(system, by_query[system], errors.hard) for system in systems])
    shares.columns = pd.Index(
        [
            "system",
            f"queries with more than {errors.hard:,} errors, %",
            "their share of all errors, %",
            "share of the hardest 5%, %",
        ]
    )
    random = sorted(
        (system for system in of_kind(material, "random") if system in systems),
        key=lambda system: system not in set(material.systems.query("source == 'random'")["system"]),
    )
    hard = [system for system in of_kind(material, "static hard", "STAR") if system in systems]
    claims = [
        Claim(
            each.low > 0,
            f"the hardest 5% of queries hold {each.share:.1f}% of the errors of {random[0]}, trained with random "
            f"negatives, and {each.other:.1f}% of those of {each.system}, trained with hard ones (difference "
            f"{each.share - each.other:+.1f} points, interval {each.low:+.1f} to {each.high:+.1f})",
            "a few queries hold as large a share of the errors with hard negatives as with random ones",
        )
        for each in (concentration(by_query.unstack("system"), random[0], hard) if random else [])
    ]
    panel = (
        f"Top: number of queries by errors of {random[0]} (logarithmic bins; queries without errors at the left). "
        if random
        else ""
    )
    note = (
        "The criterion: the share of the hardest 5% is larger than with hard negatives, by bootstrap intervals over "
        f"queries ({RESAMPLES:,} resamples, 95% over all pairs named here)."
    )
    missing = "no system is trained with random negatives" if not random else "none to compare with has hard negatives"
    return {
        "caption": f"Pairwise errors per query on {material.analysis_split} of {material.dataset}, "
        f"{errors.rows['query'].nunique():,} queries. {panel}Lines: the share of a system's errors on its hardest "
        f"queries (grey: 5%), and how far that is from the mean of the systems, since the lines nearly coincide. Hard: "
        f"more than {errors.hard:,} errors.",
        "paper": "On MS MARCO Dev Passage, difficult queries contribute a surprisingly large share of the total "
        "pairwise errors of Rand Neg.",
        "here": verdict(claims, note, missing),
        "table": shares,
        "digits": dict.fromkeys(shares.columns[1:], 1),
        "figure": partial(
            _draw_errors,
            {system: by_query[system].to_numpy() for system in systems},
            random[0] if random else None,
            line_styles(material),
            errors.hard,
        ),
    }


def _shares(system: str, errors: pd.Series, hard: int) -> tuple[str, float, float, float]:
    """Percentages: hard queries, their share of the errors, and the share of the hardest 5% of queries."""
    hardest = errors.nlargest(max(1, round(HARDEST * len(errors))))
    total = max(int(errors.sum()), 1)
    difficult = errors[errors > hard]
    return system, 100 * len(difficult) / len(errors), 100 * difficult.sum() / total, 100 * hardest.sum() / total


@styled
def _draw_errors(
    errors: Mapping[str, npt.NDArray[np.int64]], random: str | None, styles: Mapping[str, dict[str, Any]], hard: int
) -> Figure:
    several = len(errors) > 1
    figure, axes = panels_of(1 + (random is not None) + several)
    if random:
        _histogram(axes[0], errors[random], random, hard)
    held = {system: _concentration(by_query) for system, by_query in errors.items()}
    panels = axes[-2:] if several else axes[-1:]
    widths = np.linspace(3.2, 0.9, len(held)) if several else [1.3]
    for (system, (queries, share)), width in zip(held.items(), widths, strict=True):
        panels[0].plot(queries, share, label=system, linewidth=width, **styles[system])
    panels[0].set_ylim(0, 102)
    panels[0].set_ylabel("share of errors, %")
    if several:
        _apart(panels[1], held, styles)
    for panel in panels:
        panel.axvline(100 * HARDEST, color="#999999", linewidth=0.6, zorder=0)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    panels[-1].set_xlabel("hardest queries, % (logarithmic)")
    legend(figure, [panels[0]])
    return figure


def _apart(panel: Axes, held: Mapping[str, Shares], styles: Mapping[str, dict[str, Any]]) -> None:
    """Draw how far each line is from the mean of all, which tells lines apart that nearly coincide."""
    at = np.unique(np.concatenate([queries for queries, _ in held.values()]))
    lines = {system: np.interp(np.log(at), np.log(queries), share) for system, (queries, share) in held.items()}
    middle = np.mean(list(lines.values()), axis=0)
    for system, share in lines.items():
        panel.plot(at, share - middle, **styles[system])
    panel.axhline(0, color="#999999", linewidth=0.6, zorder=0)
    panel.set_ylabel("share minus the\nmean, points")


def _histogram(panel: Axes, errors: npt.NDArray[np.int64], system: str, hard: int) -> None:
    """Draw the number of queries by errors. The axis is logarithmic from 1; 0 has its own bin."""
    top = max(int(errors.max()), 2)
    edges = np.unique(np.concatenate([[0], np.ceil(np.geomspace(1, top + 1, 4 * len(str(top)) + 1))]))
    panel.hist(errors, bins=list(edges), color=ORANGE, edgecolor="white", linewidth=0.4)
    if hard < top:
        panel.axvline(hard, color="#333333", linewidth=0.8, linestyle="--")
        panel.annotate("hard", (hard, 1), (3, -2), ("data", "axes fraction"), "offset points", va="top", fontsize=7)
    panel.set_xscale("symlog", linthresh=1, linscale=0.4)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_xlim(0, edges[-1])
    panel.set_xlabel(f"errors per query, {system}")
    panel.set_ylabel("queries")


def _concentration(errors: npt.NDArray[np.int64]) -> Shares:
    """The percentage of queries, hardest first, and their percentage of all errors: float64 [n], n <= 200."""
    held = np.cumsum(np.sort(errors)[::-1])
    places = np.unique(np.geomspace(1, len(held), 200).round().astype(np.int64))
    return 100 * places / len(held), 100 * held[places - 1] / max(int(held[-1]), 1)
