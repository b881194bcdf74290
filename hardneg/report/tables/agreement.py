"""Unjudged passages at the top ranks."""

from __future__ import annotations

import pandas as pd

from hardneg.report.content import LOWER, Content
from hardneg.report.material import Material


def agreement(material: Material, found: pd.DataFrame) -> Content:
    """Unjudged hits, those that other systems also rank at the top, and the measured rate of false negatives."""
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
        "caption": f"Top hits (up to {depth:.3g} per query) of {found['queries'].max():,} queries of "
        f"{material.analysis_split} of {material.dataset}. Agreed: unjudged hits that other systems also rank at the "
        "top, which may be relevant. Hole: the share of unjudged hits; lower is better. Measured false negatives (only "
        "with exhaustive judgements): the share of relevant passages among judged hits, without the one positive that "
        "a sparse collection would keep.",
        "here": f"Other systems agree on {share:.1%} of the unjudged hits. {worst['system']} has the largest share of "
        f"unjudged hits, {worst['hole']:.1%}.",
        "table": table,
        "digits": {f"Hole, %{LOWER}": 1, "measured false negatives, %": 1},
    }
