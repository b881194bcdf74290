"""Figure 4b: effectiveness during training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from hardneg.report.claims.kinds import starts
from hardneg.report.claims.values import queries_of
from hardneg.report.claims.verdicts import UNTESTED, Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.steps import draw_steps
from hardneg.report.figures.style import (
    families,
    line_styles,
)
from hardneg.report.material import Material


def figure4b(material: Material, trajectory: pd.DataFrame) -> Content:
    """Effectiveness during training, by kind of negatives."""
    known = list(dict.fromkeys(trajectory["name"]))
    measure = material.main_measure if material.main_measure in known else known[0]
    rows = trajectory[trajectory["name"] == measure].sort_values("step", kind="stable")
    kind = families(material)
    named = {name: f"{name} ({kind[name]})" for name in rows["system"].unique()}
    return {
        "caption": f"{measure} on {material.analysis_split} of {material.dataset}, mean over "
        f"{queries_of(material, material.analysis_split):,} queries, during training of query encoders "
        "on fixed passage vectors, by kind of negatives. Dynamic: negatives from the live index without weights; "
        "ADORE: with lambda weights.",
        "paper": "On MS MARCO, starting from BM25 Neg, dynamic hard negatives steadily improve the ranking. Static "
        "hard negatives with a periodic refresh fluctuate and are mostly significantly worse than random negatives, "
        "which themselves degrade the ranking.",
        "here": verdict(
            _trajectory_claims(material, rows, kind),
            UNTESTED,
            "no training run with these negatives was evaluated twice",
        ),
        "figure": partial(
            draw_steps, [(rows, f"{measure}, {material.analysis_split}", "linear")], line_styles(material), named
        ),
    }


def _trajectory_claims(material: Material, rows: pd.DataFrame, kind: Mapping[str, str]) -> list[Claim]:
    """The claims of Figure 4b, compared among systems with the same start."""
    lines = rows.pivot(index="step", columns="system", values="value")
    begun = starts(material)
    claims = []
    for system, line in ((str(name), line.dropna()) for name, line in lines.items()):
        if len(line) < 2:
            continue
        ends = f"{system} ({kind[system]}) goes from {line.iloc[0]:.4f} to {line.iloc[-1]:.4f}"
        if kind[system] in ("dynamic", "ADORE"):
            above = int((line.iloc[1:] > line.iloc[0]).sum())
            numbers = f"{ends}, above its start in {above} of {len(line) - 1} evaluations"
            holds = bool(line.iloc[-1] > line.iloc[0]) and above == len(line) - 1
            claims.append(Claim(holds, numbers, "training on dynamic negatives ever falls to its start"))
        elif kind[system] == "random":
            claims.append(
                Claim(bool(line.iloc[-1] < line.iloc[0]), ends, "random negatives do not degrade the ranking")
            )
        elif kind[system] == "static hard":
            for other in map(str, lines):
                if kind[other] != "random" or begun.get(other) != begun.get(system):
                    continue
                both = lines[[system, other]].dropna().iloc[1:]
                below = int((both[system] < both[other]).sum())
                numbers = f"{system} (static hard) is below {other} (random) in {below} of {len(both)} evaluations"
                refuted = "static negatives are above random ones in half of the evaluations"
                claims.append(Claim(2 * below > len(both), numbers, refuted))
    return claims
