"""Judged and likely positives among the negatives."""

from __future__ import annotations

import pandas as pd

from hardneg.report.content import LOWER, Content
from hardneg.report.material import Material, Negatives


def negatives(material: Material, found: Negatives) -> Content:
    """Judged positives among mined hits and in-batch pairs, and likely false negatives, by system."""
    rows = found.systems
    names = {
        "system": "system",
        "mined": "mined ranking",
        "lag": "steps on one ranking",
        "mined_hits": "mined hits",
        "mined_judged_positives": "judged relevant, removed",
        "candidates": "candidates kept",
        "likely_false_share": f"likely false, %{LOWER}",
        "in_batch_pairs": "in-batch pairs",
        "in_batch_judged": "in-batch judged relevant, masked",
    }
    table = rows[list(names)].rename(columns=names)
    table[names["likely_false_share"]] = 100 * pd.to_numeric(rows["likely_false_share"])
    counts = [names[key] for key in ("lag", "mined_hits", "mined_judged_positives", "candidates")]
    counts += [names[key] for key in ("in_batch_pairs", "in_batch_judged")]
    table[counts] = table[counts].apply(pd.to_numeric).astype("Int64")
    judge = (
        f"those that {found.teacher} scores above the query's best judged passage" if found.teacher else "not measured"
    )
    rankings = rows.dropna(subset=["ranking"]).drop_duplicates("ranking")  # several systems may mine the same one
    mined, batch = (
        pd.to_numeric(counted).sum() for counted in (rankings["mined_judged_positives"], rows["in_batch_judged"])
    )
    trainings = int(pd.to_numeric(rows["in_batch_pairs"]).gt(0).sum())
    worst = pd.to_numeric(rows.set_index("system")["likely_false_share"]).dropna()
    most = (
        f" {worst.idxmax()} has the largest share of likely false negatives, {worst.max():.1%}." if len(worst) else ""
    )
    return {
        "caption": f"Negatives for the training queries of {material.dataset}: mined hits, those judged relevant "
        f"(removed), and the candidates kept. Steps on one ranking: how many steps draw from it, 0 if "
        f"the index is searched at every step. Likely false candidates: {judge}. In-batch (query, passage) pairs, and "
        f"those judged relevant (masked). {LOWER.strip()}: lower is better.",
        "here": f"{mined:,.0f} judged passages were removed from the hits of {len(rankings)} distinct mined rankings, "
        f"from which negatives are drawn; {batch:,.0f} judged pairs were masked in the batches of {trainings} "
        f"trainings.{most}",
        "table": table,
        "digits": {names["likely_false_share"]: 1},
    }
