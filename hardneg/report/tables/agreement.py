"""Unjudged passages at the top of the rankings."""

from __future__ import annotations

import pandas as pd

from hardneg.report.content import LOWER, Content
from hardneg.report.material import Material


def agreement(material: Material, found: pd.DataFrame) -> Content:
    """Unjudged hits, those that other systems also rank at the top, and the measured false-negative rate."""
    table = pd.DataFrame(
        {
            "system": found["system"],
            "hits": found["hits"],
            "relevant": found["relevant"],
            "judged, not relevant": found["judged_not_relevant"],
            "unjudged": found["unjudged"],
            "unjudged, agreed": found["agreed"],
            f"Hole, %{LOWER}": 100 * found["hole"],
        }
    )
    rate = pd.to_numeric(found["measured_false_negative_rate"])
    if rate.notna().any():
        table["measured false negatives, %"] = 100 * rate
    depth = (found["hits"] / found["queries"]).max()
    share = found["agreed"].sum() / max(found["unjudged"].sum(), 1)
    worst = found.iloc[int(found["hole"].argmax())]
    return {
        "caption": f"Top hits (up to {depth:.3g} a query) of {found['queries'].max():,} queries of "
        f"{material.analysis_split} of {material.dataset}. Agreed: unjudged, but other systems have it in their top "
        "hits too, so it may be relevant. Hole: unjudged share of all hits of all queries; lower is better. Measured "
        "false negatives, where judgements are exhaustive: relevant among the judged hits other than the one positive "
        "that a sparse collection would have.",
        "here": f"Of the unjudged hits {share:.1%} are agreed on. The most unjudged has {worst['system']}: "
        f"{worst['hole']:.1%} of its hits.",
        "table": table,
        "digits": {f"Hole, %{LOWER}": 1, "measured false negatives, %": 1},
    }
