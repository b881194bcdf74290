"""Figure 4b: effectiveness during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import pandas as pd

from hardneg.evaluation.measure_names import OF_TRAINING
from hardneg.report.claims.kinds import starts
from hardneg.report.claims.looks import Looks, of_two, with_start
from hardneg.report.claims.values import queries_of
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.steps import draw_steps
from hardneg.report.figures.style import (
    families,
    line_styles,
)
from hardneg.report.material import Material

NOTE = (
    "Paired t-tests over the queries at every evaluation after the first, with Holm's correction over the evaluations: "
    "significantly in more than half of them. Evaluations of one training are not independent, and it is one seed."
)


def figure4b(material: Material, trajectory: pd.DataFrame) -> Content:
    """Effectiveness during training, by kind of negatives, on the analysed queries and on training queries."""
    known = list(dict.fromkeys(trajectory["name"]))
    measure = material.main_measure if material.main_measure in known else known[0]
    rows = trajectory[trajectory["name"] == measure].sort_values("step", kind="stable")
    seen = trajectory[trajectory["name"] == OF_TRAINING.format(measure)]
    kind = families(material)
    named = {name: f"{name} ({kind[name]})" for name in rows["system"].unique()}
    below = " Bottom: on a sample of the queries that they train on. A gap that widens is overfitting."
    panels = [(rows, f"{measure}, {material.analysis_split}", "linear")]
    panels += [(seen, f"{measure},\ntraining queries", "linear")] if len(seen) else []
    return {
        "caption": f"{measure} on {material.analysis_split} of {material.dataset}, mean over "
        f"{queries_of(material, material.analysis_split):,} queries, during training of query encoders "
        "on fixed passage vectors, by kind of negatives. Dynamic: negatives from the live index without weights; "
        f"ADORE: with lambda weights.{below if len(seen) else ''}",
        "paper": "On MS MARCO, starting from BM25 Neg, dynamic hard negatives steadily improve the ranking. Static "
        "hard negatives with a periodic refresh fluctuate and are mostly significantly worse than random negatives, "
        "which themselves degrade the ranking.",
        "here": verdict(
            list(_claims(material, rows, kind)), NOTE, "no training run with these negatives was evaluated twice"
        ),
        "figure": partial(draw_steps, panels, line_styles(material), named),
    }


def _claims(material: Material, rows: pd.DataFrame, kind: Mapping[str, str]) -> Iterator[Claim]:
    """The claims of Figure 4b; two systems are compared if they start from the same."""
    if material.trajectory_queries is None:
        return
    begun = starts(material)
    values = {
        str(system): own.pivot(index="query_id", columns="step", values="value")
        for system, own in material.trajectory_queries.groupby("system")
    }
    values = {system: own for system, own in values.items() if own.shape[1] > 1}
    for system in (str(name) for name in rows["system"].unique() if str(name) in values):
        own, said = values[system], f"{system} ({kind[system]})"
        found, ends = with_start(own), f"{own.mean().iloc[0]:.4f} to {own.mean().iloc[-1]:.4f}"
        if kind[system] in ("dynamic", "ADORE"):
            yield Claim(
                2 * found.clearly_above > found.looks,
                f"{said} goes from {ends}, above its start in {_times(found.above, found.clearly_above, found)}",
                "dynamic negatives are not significantly above their start in half of the evaluations",
            )
        elif kind[system] == "random":
            yield Claim(
                found.ends < 0,
                f"{said} goes from {ends}, below its start in {_times(found.below, found.clearly_below, found)}",
                "random negatives do not end significantly below their start",
            )
        elif kind[system] == "static hard":
            for other in values:
                if kind[other] not in ("random", "dynamic", "ADORE") or begun.get(other) != begun.get(system):
                    continue
                found = of_two(own, values[other])
                yield Claim(
                    2 * found.clearly_below > found.looks,
                    f"{said} is below {other} ({kind[other]}) in {_times(found.below, found.clearly_below, found)}",
                    "static negatives are not significantly below random and dynamic ones in half of the evaluations",
                )


def _times(times: int, clearly: int, found: Looks) -> str:
    return f"{times} of {found.looks} evaluations ({clearly} significantly)"
