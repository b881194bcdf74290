"""The paper's tables, the comparisons behind Table 2's marks, and what every stage took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import ascii_lowercase
from typing import TypedDict

import pandas as pd
from matplotlib.figure import Figure

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.findings import (
    LEVEL,
    TESTED,
    UNTESTED,
    Claim,
    kinds,
    measured,
    of_kind,
    queries_of,
    scores,
    starts,
    tested,
    verdict,
)
from hardneg.report.material import Compression, Errors, Material

# A table's column of this name holds the marks of the column before it: letters of baselines.
MARKS = ", differs from"
LOWER = " ↓"
UNCOMPRESSED = "Flat"

_MINOR_LOSS, _SMALL = 0.02, 0.1


class Content(TypedDict, total=False):
    """What an `Item` says and shows, beside its name, title and category."""

    caption: str
    paper: str
    here: str
    table: pd.DataFrame
    digits: Mapping[str, int]
    figure: Callable[[], Figure]


def table1(material: Material, errors: Errors) -> Content:
    """Total and top-K pairwise errors by system (methods 2.1); means over queries and over positives."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)[["errors", "top_k"]].sum()
    queries = by_query.groupby("system", sort=False).mean()
    positives = errors.rows.groupby("system", sort=False)[["errors", "top_k"]].mean()
    total, top = f"total errors a query{LOWER}", f"top-{errors.k} errors a query{LOWER}"
    negatives = kinds(material.systems)
    table = pd.DataFrame(
        {
            "system": queries.index,
            "negatives": [negatives[system] for system in queries.index],
            total: queries["errors"].to_numpy(),
            top: queries["top_k"].to_numpy(),
            f"total errors a positive{LOWER}": positives["errors"].to_numpy(),
            f"top-{errors.k} errors a positive{LOWER}": positives["top_k"].to_numpy(),
        }
    )
    return {
        "caption": f"Pairwise errors on {material.analysis_split} of {material.dataset}: passages not judged relevant "
        f"that score strictly above a judged one, counted over all {material.collection['passages']:,} passages; in "
        f"all, and cut at {errors.k} a judged passage. {_counted(errors)}. {LOWER.strip()}: lower is better.",
        "paper": "On MS MARCO Dev Passage, random negatives leave few total errors (Rand Neg 659, In-Batch Neg 679, "
        "STAR 1128, ANCE 1448, BM25 Neg 2432) but not few top-200 errors (39.3 and 43.2; STAR 35.8, ANCE 37.3, BM25 "
        "Neg 46.4). ADORE lowers the top-200 errors of whatever it starts from: In-Batch Neg 43.2 to 37.7, Rand Neg "
        "39.3 to 36.8, BM25 Neg 46.4 to 40.0, ANCE 37.3 to 36.5, STAR 35.8 to 34.4, which is the lowest.",
        "here": verdict(_error_claims(material, errors), TESTED, "no two systems were counted that the paper compares"),
        "table": table,
        "digits": dict.fromkeys(table.columns[2:], 1),
    }


def table2(material: Material) -> Content:
    """Effectiveness by system, split and measure, with marks of significant differences."""
    tests = material.marks if len(material.marks) else material.significance
    baselines = [system for system in material.systems["system"] if system in set(tests["baseline"])]
    letters = dict(zip(baselines, ascii_lowercase, strict=False))
    splits = sorted(material.measures["split"].unique(), key=lambda split: split != material.split)
    table = pd.DataFrame({"system": material.measures["system"].unique()})
    digits = {}
    for split in splits:
        for measure in material.measures["measure"].unique():
            values = measured(material, split, measure)
            name = f"{split} {measure}{LOWER if lower_is_better(measure) else ''}"
            if values.empty:
                continue
            table[name] = table["system"].map(values)
            digits[name] = 4
            if letters:
                table[name + MARKS] = table["system"].map(_marks(tests, split, measure, letters)).fillna("")
    counts = ", ".join(f"{queries_of(material, split):,} queries of {split}" for split in splits)
    return {
        "caption": f"Effectiveness on {material.dataset}: means over {counts}. Higher is better; lower for{LOWER}. "
        + _legend(material, letters),
        "paper": "On MS MARCO Dev Passage (MRR@10), ADORE improves every model that it starts from (In-Batch Neg 0.264 "
        "to 0.316, Rand Neg 0.301 to 0.326, BM25 Neg 0.309 to 0.329, ANCE 0.338 to 0.341, STAR 0.340 to 0.347); STAR "
        "is above random and static hard negatives; ADORE+STAR is the best of the dense systems, there and on MS MARCO "
        "Dev Doc (MRR@100 0.405).",
        "here": verdict(_effectiveness_claims(material), TESTED, "no system is trained as STAR or ADORE are"),
        "table": table,
        "digits": digits,
    }


def comparisons(material: Material) -> Content:
    """Every tested pair with its interval and both tests."""
    families = {"named baselines": material.marks, "own baselines": material.significance}
    tests = pd.concat([tests.assign(family=name) for name, tests in families.items()], ignore_index=True)
    columns = {
        "split": "split",
        "measure": "measure",
        "system": "system",
        "baseline": "baseline",
        "queries": "queries",
        "difference": "difference",
        "ci_low": "95% interval, low",
        "ci_high": "95% interval, high",
        "p_t": "p (t)",
        "p_t_holm": "p (t, Holm)",
        "p_randomisation": "p (randomisation)",
        "p_randomisation_holm": "p (randomisation, Holm)",
        "family": "corrected over",
    }
    table = tests[list(columns)].rename(columns=columns)
    significant = tests["p_t_holm"] < LEVEL
    gain = tests["difference"] * tests["measure"].map(lambda measure: -1 if lower_is_better(measure) else 1)
    table["verdict"] = (
        pd.Series("no difference shown", tests.index)
        .mask(significant & (gain > 0), "better")
        .mask(significant & (gain < 0), "worse")
    )
    return {
        "caption": f"Differences of means over queries on {material.dataset}, system minus baseline, with the 95% "
        "interval of the paired t-test; two-sided paired t and randomisation tests, the query being the unit. p-values "
        "with Holm's correction over all pairs of one split and measure, within the named baselines (those of Table "
        "2's marks) and within each system's own (BM25, what it starts from, its siblings). Verdict: t-test, "
        f"corrected, {LEVEL}.",
        "here": f"Of {len(table):,} comparisons {int((table['verdict'] == 'better').sum()):,} show the system to be "
        f"better than the baseline and {int((table['verdict'] == 'worse').sum()):,} to be worse.",
        "table": table,
        "digits": dict.fromkeys(list(columns.values())[5:12], 4),
    }


def table3(material: Material, compression: Compression) -> Content:
    """The main measure by the index trained on and the index served on."""
    cells = compression.cells
    cells = cells[(cells["split"] == material.analysis_split) & (cells["measure"] == material.main_measure)]
    cells = cells.assign(trained_on=cells["trained_on"].fillna("").replace("", f"not trained ({compression.base})"))
    matrix = cells.pivot(index="trained_on", columns="served_on", values="value")
    matrix = matrix.reindex(index=cells["trained_on"].unique(), columns=cells["served_on"].unique())
    trained = matrix.loc[[index for index in matrix.index if index in matrix.columns]]
    claims = []
    for served in trained.index if len(trained) > 1 else ():
        own, others = trained.loc[served, served], trained[served].drop(served).dropna()
        if len(others):
            numbers = (
                f"served on {served}, {own:.4f} trained on it against {others.max():.4f} trained on {others.idxmax()}"
            )
            claims.append(Claim(bool(own > others.max()), numbers))
    table = matrix.rename(columns="served on {}".format).reset_index().rename(columns={"trained_on": "trained on"})
    table.columns.name = None
    return {
        "caption": f"{material.main_measure} on {material.analysis_split} of {material.dataset}, mean over "
        f"{queries_of(material, material.analysis_split):,} queries: query encoders trained on one index of "
        f"{compression.base}'s passage vectors (rows) and served on another (columns).",
        "paper": "On MS MARCO passages, with PQ of 24, 48 and 96 and without compression, the query encoder trained on "
        "an index is the best one on it: 0.247, 0.283, 0.291 and 0.329 on the diagonal, the highest of their columns.",
        "here": verdict(claims, UNTESTED, "fewer than two systems were trained on indexes of their own"),
        "table": table,
        "digits": dict.fromkeys(table.columns[1:], 4),
    }


def table4(material: Material) -> Content:
    """What training took, by itself and with all that it builds on, and how much less than the speed baseline."""
    costs = material.training_costs
    in_hours = costs["whole_seconds"].max() >= 7200
    unit, size = ("hours", 3600) if in_hours else ("seconds", 1)
    table = pd.DataFrame(
        {
            "system": costs["system"],
            "starts from": costs["starts_from"].fillna(""),
            "devices": costs["devices"],
            unit: costs["seconds"] / size,
            "device-hours": costs["device_hours"],
            f"whole {unit}": costs["whole_seconds"] / size,
            "whole device-hours": costs["whole_device_hours"],
        }
    )
    baseline = costs[costs["system"] == material.speed_baseline]
    against = "No system is named whose time the others are compared with (analyses.speed_baseline)."
    claims = []
    if len(baseline):
        for name, column in (("speed-up", "seconds"), ("whole speed-up", "whole_seconds")):
            table[name] = baseline[column].iloc[0] / costs[column].where(costs[column] > 0)
        against = f"Speed-up: the time of {material.speed_baseline} over the system's time, whatever the devices."
        for row in table[table["system"].isin(of_kind(material, "STAR", "ADORE"))].to_dict("records"):
            text = (
                f"{row['system']} {row['speed-up']:.3g}x by itself, {row['whole speed-up']:.3g}x with what it builds on"
            )
            claims.append(Claim(row["speed-up"] > 1 and row["whole speed-up"] > 1, text))
    return {
        "caption": f"What training took on {material.dataset} in {unit} and device-hours: training, mining and "
        f"encoding of the system by itself, and whole, with all systems that it builds on. {against}",
        "paper": "On MS MARCO with 11 GB RTX 2080 Ti GPUs: ANCE 645 hours on 4 GPUs, STAR 33 hours on 1 (20x), ADORE 4 "
        "hours on 4 (179x), ADORE+STAR 37 hours on 4 (18x).",
        "here": verdict(
            claims, "Each was timed once.", "there is no time of a baseline and of a system trained as STAR or ADORE"
        ),
        "table": table,
        "digits": {unit: 1, f"whole {unit}": 1, "device-hours": 3, "whole device-hours": 3}
        | {"speed-up": 1, "whole speed-up": 1},
    }


def table5(material: Material, compression: Compression) -> Content:
    """Size, quality, training time and effectiveness by index."""
    rows, measure = compression.indexes, material.main_measure
    names = {
        "index": "index",
        "mib": "MiB",
        "bytes_a_vector": "bytes a vector",
        "quality": f"index quality ({compression.base}, {measure})",
        "system": "trained on it",
        "seconds": "training, seconds",
        "value": f"{measure} after training",
    }
    largest, claims = rows.iloc[int(rows["mib"].argmax())], []
    for row in rows[rows["mib"] <= _SMALL * largest["mib"]].dropna(subset=["value"]).to_dict("records"):
        lost = 1 - row["value"] / largest["value"]
        text = (
            f"{row['index']} takes {row['mib'] / largest['mib']:.1%} of the size of {largest['index']} and loses "
            f"{lost:.1%} of {measure} ({row['value']:.4f} against {largest['value']:.4f})"
        )
        claims.append(Claim(lost < _MINOR_LOSS, text))
    return {
        "caption": f"Indexes of {compression.base}'s passage vectors on {material.dataset}: size, quality ({measure} "
        f"of {compression.base} on it), and the query encoder trained on it: time and {measure}, on "
        f"{queries_of(material, material.analysis_split):,} queries of {material.analysis_split}.",
        "paper": "On MS MARCO Dev Passage, ADORE+BM25 Neg on PQ 6, 12, 24, 48, 96 and without compression (0.1, 0.2, "
        "0.2, 0.5, 0.9 and 26 GB) has MRR@10 0.304, 0.318, 0.324, 0.327, 0.326 and 0.329: a minor loss (0.326 vs. "
        "0.329), but an over-compressed index (quality 0.050) is about as good as random negatives (0.304 vs. 0.301).",
        "here": verdict(
            claims,
            f"A loss below {_MINOR_LOSS:.0%} is taken as minor. {UNTESTED}",
            f"no index has {_SMALL:.0%} of the largest one's size or less",
        ),
        "table": rows[list(names)].rename(columns=names),
        "digits": {"MiB": 1, "bytes a vector": 0, names["quality"]: 4, "training, seconds": 1, names["value"]: 4},
    }


def stages_cost(material: Material) -> Content:
    """What every stage and shard took."""
    names = {"peak_memory_mib": "peak memory, MiB"}
    total, hours = material.costs["seconds"].sum(), (material.costs["seconds"] * material.costs["devices"]).sum() / 3600
    slowest = material.costs.groupby("stage", sort=False)["seconds"].sum()
    most = f" Most went to {slowest.idxmax()}: {slowest.max():,.1f} seconds." if len(slowest) else ""
    return {
        "caption": f"What each finished stage or shard took on {material.dataset}: seconds by the clock, accelerators "
        "or processors held, peak memory of the process. Stages without a system are shared.",
        "here": f"All together {total:,.1f} seconds and {hours:,.2f} device-hours.{most}",
        "table": material.costs.fillna({"system": ""}).rename(columns=names),
        "digits": {"seconds": 1, "peak memory, MiB": 0},
    }


def _counted(errors: Errors) -> str:
    return f"Means over {errors.rows['query'].nunique():,} queries with {_positives(errors):,} judged passages"


def _positives(errors: Errors) -> int:
    return len(errors.rows[["query", "passage"]].drop_duplicates())


def _error_claims(material: Material, errors: Errors) -> list[Claim]:
    """The paper's claims about Table 1; two systems are compared by the paired t-test, over queries."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)[["errors", "top_k"]].sum().astype(float)
    by_query = by_query.reset_index().rename(columns={"query": "query_id"})
    total, top = (by_query.rename(columns={column: "value"}) for column in ("errors", "top_k"))
    all_means, means = (rows.groupby("system", sort=False)["value"].mean() for rows in (total, top))
    random, hard, star, adore = (
        [system for system in of_kind(material, *wanted) if system in means]
        for wanted in (("random",), ("static hard", "STAR"), ("STAR",), ("ADORE",))
    )
    static = [system for system in hard if system not in star]
    begun = starts(material)
    pairs: list[tuple[str, str]] = []
    claims = []
    if random and hard:
        pair = str(all_means[random].idxmin()), str(all_means[hard].idxmin())
        claims += [
            Claim(each.lower, f"random negatives have the fewest errors in all: {each.text(1)}")
            if each.value < each.other
            else Claim(False, f"hard negatives have the fewest errors in all: {each.text(1)}")
            for each in tested(total, [pair])
        ]
        pairs.append((str(means[hard].idxmin()), str(means[random].idxmin())))
    if star and static:
        pairs.append((str(means[star].idxmin()), str(means[static].idxmin())))
    pairs += [(system, begun[system]) for system in adore if begun.get(system) in means]
    claims += [
        Claim(each.lower, f"top-{errors.k} errors: {each.text(1)}") for each in tested(top, list(dict.fromkeys(pairs)))
    ]
    on_star = [system for system in adore if begun.get(system) in star]
    if on_star:
        least = str(means.idxmin())
        claims.append(Claim(least in on_star, f"by the means, {least} has the fewest top-{errors.k} errors of all"))
    return claims


def _effectiveness_claims(material: Material) -> list[Claim]:
    """The paper's claims about Table 2."""
    rows = scores(material)
    means = rows.groupby("system", sort=False)["value"].mean()
    begun = starts(material)
    star, adore = ([system for system in of_kind(material, kind) if system in means] for kind in ("STAR", "ADORE"))
    pairs = [(system, begun[system]) for system in adore if begun.get(system) in means]
    others = [system for system in of_kind(material, "random", "static hard") if system in means]
    pairs += [(system, other) for system in star for other in others]
    claims = [Claim(each.higher, each.text()) for each in tested(rows, pairs)]
    on_star = [system for system in adore if begun.get(system) in star]
    if on_star:
        best = str(means.drop(of_kind(material, "other"), errors="ignore").idxmax())
        claims.append(Claim(best in on_star, f"the highest mean of the trained systems is {best}'s, {means[best]:.4f}"))
    return claims


def _marks(tests: pd.DataFrame, split: str, measure: str, letters: Mapping[str, str]) -> dict[str, str]:
    """By system the letters of the baselines that it differs from; ▼ before each that it is worse than."""
    chosen = tests[(tests["split"] == split) & (tests["measure"] == measure) & (tests["p_t_holm"] < LEVEL)]
    marks: dict[str, list[str]] = {}
    for row in chosen.to_dict("records"):
        letter, better = letters[row["baseline"]], (row["difference"] > 0) != lower_is_better(measure)
        marks.setdefault(row["system"], []).append(letter if better else f"▼{letter}")
    # Letters come before ▼ in the order of characters.
    return {system: "".join(sorted(found)) for system, found in marks.items()}


def _legend(material: Material, letters: Mapping[str, str]) -> str:
    if not letters:
        return "No two systems were tested against each other."
    named = ", ".join(f"{letter} {baseline}" for baseline, letter in letters.items())
    over = "every system against these" if len(material.marks) else "each system against its own baselines among these"
    return (
        f"Letters: significantly better than {named}; ▼ before a letter: worse (paired t-test, {over}, Holm's "
        f"correction, p < {LEVEL})."
    )
