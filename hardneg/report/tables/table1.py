"""Table 1: total and top-K pairwise errors."""

from __future__ import annotations

import pandas as pd

from hardneg.report.claims.differences import tested
from hardneg.report.claims.kinds import kinds, of_kind, starts
from hardneg.report.claims.verdicts import TESTED, Claim, verdict
from hardneg.report.content import LOWER, Content
from hardneg.report.material import Errors, Material


def table1(material: Material, errors: Errors) -> Content:
    """Total and top-K pairwise errors by system (methods 2.1), as means over queries and over positives."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)[["errors", "top_k"]].sum()
    queries = by_query.groupby("system", sort=False).mean()
    positives = errors.rows.groupby("system", sort=False)[["errors", "top_k"]].mean()
    total, top = f"total errors per query{LOWER}", f"top-{errors.k} errors per query{LOWER}"
    negatives = kinds(material.systems)
    table = pd.DataFrame(
        {
            "system": queries.index,
            "negatives": [negatives[system] for system in queries.index],
            total: queries["errors"].to_numpy(),
            top: queries["top_k"].to_numpy(),
            f"total errors per positive{LOWER}": positives["errors"].to_numpy(),
            f"top-{errors.k} errors per positive{LOWER}": positives["top_k"].to_numpy(),
        }
    )
    return {
        "caption": f"Pairwise errors on {material.analysis_split} of {material.dataset}: passages not judged relevant "
        f"that score strictly above a relevant one, counted over all {material.collection['passages']:,} passages: in "
        f"total, and at most {errors.k} per relevant passage. {_counted(errors)}. {LOWER.strip()}: lower is better.",
        "paper": "On MS MARCO Dev Passage, random negatives give few total errors (Rand Neg 659, In-Batch Neg 679, "
        "STAR 1128, ANCE 1448, BM25 Neg 2432) but many top-200 errors (39.3 and 43.2; STAR 35.8, ANCE 37.3, BM25 "
        "Neg 46.4). ADORE lowers the top-200 errors of every starting model: In-Batch Neg 43.2 to 37.7, Rand Neg "
        "39.3 to 36.8, BM25 Neg 46.4 to 40.0, ANCE 37.3 to 36.5, STAR 35.8 to 34.4, the lowest of all.",
        "here": verdict(
            _error_claims(material, errors), TESTED, "none of the paper's comparisons can be made with these systems"
        ),
        "table": table,
        "digits": dict.fromkeys(table.columns[2:], 1),
    }


def _counted(errors: Errors) -> str:
    return f"Means over {errors.rows['query'].nunique():,} queries with {_positives(errors):,} judged passages"


def _positives(errors: Errors) -> int:
    return len(errors.rows[["query", "passage"]].drop_duplicates())


def _error_claims(material: Material, errors: Errors) -> list[Claim]:
    """The paper's claims about Table 1. Two systems are compared by the paired t-test over queries."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)[["errors", "top_k"]].sum().astype(float)
    by_query = by_query.reset_index().rename(columns={"query": "query_id"})
    total, top = (by_query.rename(columns={column: "value"}) for column in ("errors", "top_k"))
    all_means, means = (rows.groupby("system", sort=False)["value"].mean() for rows in (total, top))
    random, hard, star, adore = (
        [system for system in of_kind(material, *wanted) if system in means]
        for wanted in (("random",), ("static hard", "STAR"), ("STAR",), ("ADORE",))
    )
    static = [system for system in hard if system not in star]
    start_of = starts(material)
    pairs: list[tuple[str, str]] = []
    claims = []
    fewest = "hard negatives have as few total errors as random ones"
    if random and hard:
        pair = str(all_means[random].idxmin()), str(all_means[hard].idxmin())
        claims += [
            Claim(each.lower, f"random negatives have the fewest total errors: {each.text(1)}", fewest)
            if each.value < each.other
            else Claim(False, f"hard negatives have the fewest total errors: {each.text(1)}", fewest)
            for each in tested(total, [pair])
        ]
        pairs.append((str(means[hard].idxmin()), str(means[random].idxmin())))
    if star and static:
        pairs.append((str(means[star].idxmin()), str(means[static].idxmin())))
    pairs += [(system, start_of[system]) for system in adore if start_of.get(system) in means]
    claims += [
        Claim(each.lower, f"top-{errors.k} errors: {each.text(1)}", _refuted(each.system in adore, errors.k))
        for each in tested(top, list(dict.fromkeys(pairs)))
    ]
    on_star = [system for system in adore if start_of.get(system) in star]
    if on_star:
        least = str(means.idxmin())
        text = f"{least} has the fewest top-{errors.k} errors on average"
        claims.append(Claim(least in on_star, text, f"another system than ADORE on STAR has the fewest top-{errors.k}"))
    return claims


def _refuted(adore: bool, k: int) -> str:
    if adore:
        return f"ADORE has as many top-{k} errors as what it starts from"
    return f"hard negatives have as many top-{k} errors as random ones, or STAR as many as static ones"
