"""Mined negatives by rank: score margins and likely false negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hardneg.report.content import Content
from hardneg.report.figures.panels import legend, panels_of, say_if_empty
from hardneg.report.figures.style import (
    line_styles,
    styled,
)
from hardneg.report.material import Material, Negatives

_BY_RANK = ("system", "first", "last", "margin_q25", "margin_median", "margin_q75", "likely_false")


def negatives_by_rank(material: Material, found: Negatives) -> Content:
    """Score margins of mined candidates to the judged passage, and likely false negatives, by rank."""
    # If nothing was mined, the table has no columns.
    rows = found.by_rank.reindex(columns=list(_BY_RANK))
    edges = rows[["first", "last"]].drop_duplicates().sort_values("first")
    buckets = [f"{first}" if first == last else f"{first}–{last}" for first, last in edges.itertuples(index=False)]
    rows = rows.assign(place=rows["first"].map({first: place for place, first in enumerate(edges["first"])}))
    band = {"margin_q25": "low", "margin_median": "value", "margin_q75": "high"}
    panels = [(_comparable(rows, list(band)).rename(columns=band), "margin to the judged\npassage, in spreads")]
    likely = rows.dropna(subset=["likely_false"])
    if len(likely):
        panels.append(
            (likely[["system", "place"]].assign(value=100 * likely["likely_false"]), "likely false\nnegatives, %")
        )
    above = rows[rows["margin_median"] > 0]
    text = "The median candidate never scores above the query's best judged passage."
    if rows.empty:
        text = "No system mined a ranking."
    elif len(above):
        ranks = ", ".join(
            f"{system} down to rank {last:,}"
            for system, last in above.groupby("system", sort=False)["last"].max().items()
        )
        text = f"The median candidate scores above the query's best judged passage for {ranks}."
    if len(likely):
        ends = likely.sort_values("place").groupby("system", sort=False)["likely_false"].agg(["first", "last"])
        text += " Likely false negatives at the first and last ranks: " + ", ".join(
            f"{system} {first:.1%} and {last:.1%}" for system, first, last in ends.itertuples(name=None)
        )
        text += "."
    judge = (
        f" Bottom: the share of candidates that {found.teacher} scores above the query's best judged passage."
        if len(likely)
        else ""
    )
    return {
        "caption": f"Mined candidates of the training queries of {material.dataset} by rank: their score minus that of "
        f"the query's best judged passage, if the ranking contains one (median and quartiles). Scores of BM25 and of "
        "encoders have different scales, so the margins are divided by the system's spread: the mean, over ranks, of "
        f"their interquartile ranges.{judge}",
        "here": text,
        "figure": partial(_draw_bands, panels, buckets, "rank in the mined ranking", line_styles(material)),
    }


def _comparable(rows: pd.DataFrame, margins: list[str]) -> pd.DataFrame:
    """Margins in units of the system's own spread: the mean, over ranks, of their interquartile ranges."""
    spread = (rows["margin_q75"] - rows["margin_q25"]).groupby(rows["system"]).transform("mean")
    return rows[["system", "place"]].join(rows[margins].div(spread.where(spread > 0, 1.0), axis=0))


@styled
def _draw_bands(
    panels: Sequence[tuple[pd.DataFrame, str]], buckets: Sequence[str], label: str, styles: Mapping[str, dict[str, Any]]
) -> Figure:
    """Draw one line per system over rank buckets, optionally with a band.

    Args:
        panels: for each panel a table and the y label. Columns: system, place (the bucket's number), value, and low
            and high for a band.
        buckets: the names of the buckets.
        label: the x label.
        styles: the systems' styles, from `line_styles`.
    """
    figure, axes = panels_of(len(panels))
    for panel, (rows, name) in zip(axes, panels, strict=True):
        for system, line in rows.groupby("system", sort=False):
            panel.plot(line["place"], line["value"], marker="o", markersize=3, label=system, **styles[str(system)])
            if "low" in line:
                panel.fill_between(
                    line["place"],
                    line["low"],
                    line["high"],
                    color=styles[str(system)]["color"],
                    alpha=0.18,
                    linewidth=0,
                )
        say_if_empty(panel, rows)
        panel.set_ylabel(name)
        panel.set_xticks(range(len(buckets)), buckets, rotation=30)
    axes[-1].set_xlabel(label)
    legend(figure, axes)
    return figure
