"""Wins, ties and losses, query by query."""

from __future__ import annotations

import pandas as pd

from hardneg.report.claims.kinds import of_kind, starts
from hardneg.report.claims.values import scores
from hardneg.report.content import Content
from hardneg.report.material import Material


def wins(material: Material) -> Content:
    """Queries that each system wins, ties and loses against its baselines, by the main measure."""
    values = scores(material).pivot(index="query_id", columns="system", values="value")
    tested = pd.concat([material.significance, material.marks])[["system", "baseline"]].drop_duplicates()
    rows = []
    for system, baseline in tested.itertuples(index=False):
        if {system, baseline} <= set(values):
            change = (values[system] - values[baseline]).dropna()
            rows.append((system, baseline, *(int(each.sum()) for each in (change > 0, change == 0, change < 0))))
    table = pd.DataFrame(rows, columns=["system", "baseline", "won", "tied", "lost"])
    adore = of_kind(material, "ADORE")
    begun = starts(material)
    own = [row for row in rows if row[0] in adore and begun.get(row[0]) == row[1]]
    said = "; ".join(
        f"{name} wins {won:,}, ties {tied:,} and loses {lost:,} against {other}" for name, other, won, tied, lost in own
    )
    return {
        "caption": f"Queries of {material.split} of {material.dataset} that a system wins, ties and loses against a "
        f"baseline by {material.main_measure}, of {len(values):,}.",
        "here": f"ADORE against what it starts from: {said}." if own else "",
        "table": table,
    }
