"""Wins, ties and losses, query by query."""

from __future__ import annotations

import pandas as pd

from hardneg.report.claims.kinds import of_kind, starts
from hardneg.report.claims.values import scores
from hardneg.report.content import Content
from hardneg.report.material import Material


def wins(material: Material) -> Content:
    """Queries won, tied and lost by each system against its baselines, by the main measure."""
    values = scores(material).pivot(index="query_id", columns="system", values="value")
    tested = pd.concat([material.significance, material.marks])[["system", "baseline"]].drop_duplicates()
    rows = []
    for system, baseline in tested.itertuples(index=False):
        if {system, baseline} <= set(values):
            change = (values[system] - values[baseline]).dropna()
            rows.append((system, baseline, *(int(each.sum()) for each in (change > 0, change == 0, change < 0))))
    table = pd.DataFrame(rows, columns=["system", "baseline", "won", "tied", "lost"])
    adore = of_kind(material, "ADORE")
    start_of = starts(material)
    own = [row for row in rows if row[0] in adore and start_of.get(row[0]) == row[1]]
    outcome = "; ".join(
        f"{name} wins {won:,}, ties {tied:,} and loses {lost:,} against {other}" for name, other, won, tied, lost in own
    )
    return {
        "caption": f"Queries won, tied and lost by a system against a baseline, by {material.main_measure}, of "
        f"{len(values):,} queries of {material.split} of {material.dataset}.",
        "here": f"ADORE against its starting system: {outcome}." if own else "",
        "table": table,
    }
