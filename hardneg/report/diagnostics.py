"""What the paper does not show: negatives as they were mined, likely false ones, seeds, and wins query by query."""

from __future__ import annotations

from functools import partial

import pandas as pd

from hardneg.report.figures import COLOURS, draw_bands, draw_dots, families, line_styles
from hardneg.report.findings import of_kind, queries_of, scores, starts
from hardneg.report.material import Material, Negatives
from hardneg.report.tables import LOWER, Content

_BY_RANK = ("system", "first", "last", "margin_q25", "margin_median", "margin_q75", "likely_false")


def negatives(material: Material, found: Negatives) -> Content:
    """Judged positives among what was mined and met in the batch, and likely false negatives, by system."""
    rows = found.systems
    names = {
        "system": "system",
        "mined": "ranking mined",
        "mined_hits": "hits mined",
        "mined_judged_positives": "judged relevant, removed",
        "candidates": "candidates kept",
        "likely_false_share": f"likely false, %{LOWER}",
        "in_batch_pairs": "in-batch pairs",
        "in_batch_judged": "in-batch judged relevant, masked",
    }
    table = rows[list(names)].rename(columns=names)
    table[names["likely_false_share"]] = 100 * pd.to_numeric(rows["likely_false_share"])
    counts = [names[key] for key in ("mined_hits", "mined_judged_positives", "candidates")]
    counts += [names[key] for key in ("in_batch_pairs", "in_batch_judged")]
    table[counts] = table[counts].apply(pd.to_numeric).astype("Int64")
    judge = f"that {found.teacher} scores above the query's best judged passage" if found.teacher else "not looked for"
    mined, batch = (pd.to_numeric(rows[key]).sum() for key in ("mined_judged_positives", "in_batch_judged"))
    worst = pd.to_numeric(rows.set_index("system")["likely_false_share"]).dropna()
    most = (
        f" The largest share of likely false negatives has {worst.idxmax()}: {worst.max():.1%}." if len(worst) else ""
    )
    return {
        "caption": f"Negatives of the training queries of {material.dataset}: hits of the mined ranking, those judged "
        f"relevant (removed), candidates kept; likely false: candidates {judge}; (query, passage) pairs met in the "
        f"batch, and those judged relevant (masked). {LOWER.strip()}: lower is better.",
        "here": f"{mined:,.0f} judged passages among mined hits and {batch:,.0f} among in-batch pairs would have been "
        f"trained on as negatives.{most}",
        "table": table,
        "digits": {names["likely_false_share"]: 1},
    }


def negatives_by_rank(material: Material, found: Negatives) -> Content:
    """Scores of mined candidates against the judged passage's, and likely false negatives, by rank."""
    # Where nothing was mined the table has no columns.
    rows = found.by_rank.reindex(columns=list(_BY_RANK))
    edges = rows[["first", "last"]].drop_duplicates().sort_values("first")
    buckets = [f"{first}" if first == last else f"{first}–{last}" for first, last in edges.itertuples(index=False)]
    rows = rows.assign(place=rows["first"].map({first: place for place, first in enumerate(edges["first"])}))
    band = {"margin_q25": "low", "margin_median": "value", "margin_q75": "high"}
    panels = [
        (rows.rename(columns=band)[["system", "place", *band.values()]], "score minus that of\nthe judged passage")
    ]
    likely = rows.dropna(subset=["likely_false"])
    if len(likely):
        panels.append(
            (likely[["system", "place"]].assign(value=100 * likely["likely_false"]), "likely false\nnegatives, %")
        )
    above = rows[rows["margin_median"] > 0]
    said = "In no bucket does the median candidate score above the query's best judged passage."
    if rows.empty:
        said = "No system mined a ranking."
    elif len(above):
        ranks = ", ".join(
            f"{system} to rank {last:,}" for system, last in above.groupby("system", sort=False)["last"].max().items()
        )
        said = f"The median candidate scores above the query's best judged passage: {ranks}."
    if len(likely):
        ends = likely.sort_values("place").groupby("system", sort=False)["likely_false"].agg(["first", "last"])
        said += " Likely false negatives, first and last ranks: " + ", ".join(
            f"{system} {first:.1%} and {last:.1%}" for system, first, last in ends.itertuples(name=None)
        )
        said += "."
    judge = (
        f" Below: share of candidates that {found.teacher} scores above the query's best judged passage."
        if len(likely)
        else ""
    )
    return {
        "caption": f"Mined candidates of the training queries of {material.dataset} by rank: their score minus that of "
        f"the query's best judged passage, where the ranking has one (median; band: quartiles).{judge}",
        "here": said,
        "figure": partial(draw_bands, panels, buckets, "rank in the mined ranking", line_styles(material)),
    }


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


def seeds(material: Material, found: pd.DataFrame) -> Content:
    """How much each value changes with the seed."""
    spread = found.groupby(["system", "split", "measure"], sort=False)["value"].agg(
        ["count", "mean", "std", "min", "max"]
    )
    table = spread.reset_index().rename(columns={"count": "seeds", "std": "sd"})
    main = found[(found["split"] == material.split) & (found["measure"] == material.main_measure)]
    values = main.groupby("system", sort=False)["value"].agg(["mean", "std", "min", "max"])
    ranked = values.sort_values("mean", ascending=False, kind="stable")
    said = "One system only was trained with several seeds."
    if len(ranked) > 1:
        (best, first), (second, next_) = ((str(name), row) for name, row in ranked.iloc[:2].iterrows())
        apart = "is above" if first["min"] > next_["max"] else "is not above"
        said = (
            f"The worst seed of {best} ({first['min']:.4f}) {apart} the best of {second} ({next_['max']:.4f}), the "
            f"next by the mean over seeds ({first['mean']:.4f} against {next_['mean']:.4f})."
        )
    family = families(material)
    return {
        "caption": f"The same systems on {material.dataset} trained with {found['seed'].nunique()} seeds, with all "
        f"that they build on: mean, standard deviation (n - 1), lowest and highest. Figure: {material.main_measure} on "
        f"{material.split}, mean over {queries_of(material, material.split):,} queries; a dot a seed, a tick at their "
        "mean.",
        "here": said,
        "table": table,
        "digits": dict.fromkeys(["mean", "sd", "min", "max"], 4),
        "figure": partial(
            draw_dots,
            main[["system", "value"]],
            {name: COLOURS[family[name]] for name in main["system"].unique()},
            f"{material.main_measure}, {material.split}",
        ),
    }


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
