"""Figure 5: ablation of ADORE."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from hardneg.report.claims.differences import tested
from hardneg.report.claims.kinds import kinds
from hardneg.report.claims.values import measured, queries_of, scores
from hardneg.report.claims.verdicts import TESTED, Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.panels import legend
from hardneg.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    styled,
)
from hardneg.report.material import Material


def figure5(material: Material, ablation: pd.DataFrame) -> Content:
    """The separate effects of dynamic negatives and lambda weights."""
    values = measured(material, material.split, material.main_measure)
    return {
        "caption": f"Ablation of ADORE: {material.main_measure} on {material.split} of {material.dataset}, mean over "
        f"{queries_of(material, material.split):,} queries, by starting system.",
        "paper": "On MS MARCO, dynamic hard negatives greatly improve the ranking. LambdaLoss further improves models "
        "like Rand Neg, but not STAR.",
        "here": verdict(_ablation_claims(material, ablation), TESTED, "no variant trains on the live index"),
        "figure": partial(_draw_ablation, ablation, values, f"{material.main_measure}, {material.split}"),
    }


def _ablation_claims(material: Material, ablation: pd.DataFrame) -> list[Claim]:
    """The claims of Figure 5: the live index helps every base, and lambda weights help every base but STAR."""
    kind = kinds(material.systems)
    helps: list[tuple[str, str]] = []
    weighs: list[tuple[str, str]] = []
    for base, rows in ablation.groupby("base", sort=False):
        dynamic, adore = ([name for name in rows["system"] if kind[name] == each] for each in ("dynamic", "ADORE"))
        still = [str(base), *(name for name in rows["system"] if name not in dynamic + adore)]
        helps += [(name, other) for name in dynamic or adore for other in still]
        weighs += [(weighted, plain) for weighted in adore for plain in dynamic]
    on_star = set(ablation.loc[ablation["base"].map(kind) == "STAR", "system"])
    claims = []
    for each in tested(scores(material), list(dict.fromkeys(helps + weighs))):
        if (each.system, each.baseline) in weighs and each.system in on_star:
            gain = "a significant further gain on STAR" if each.higher else "no significant further gain on STAR"
            claims.append(Claim(not each.higher, f"{gain}, {each.text()}", "lambda weights improve STAR significantly"))
        else:
            weighted = (each.system, each.baseline) in weighs
            refuted = (
                "lambda weights are no better than equal ones"
                if weighted
                else "the live index is no better than static lists, or than no training"
            )
            claims.append(Claim(each.higher, each.text(), refuted))
    return claims


@styled
def _draw_ablation(ablation: pd.DataFrame, values: pd.Series, label: str) -> Figure:
    """Draw grouped bars: for each base the base itself, then its variants. A variant keeps its colour."""
    bases, variants = list(ablation["base"].unique()), list(ablation["variant"].unique())
    rows = [(base, "before", base) for base in bases] + list(
        ablation[["base", "variant", "system"]].itertuples(index=False, name=None)
    )
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    panel = figure.subplots()
    width = 0.85 / (len(variants) + 1)
    palette = ("#bbbbbb", BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE)
    for number, name in enumerate(["before", *variants]):
        here = [(base, values[system]) for base, variant, system in rows if variant == name]
        places = [bases.index(base) + (number - len(variants) / 2) * width for base, _ in here]
        bars = panel.bar(places, [value for _, value in here], width * 0.92, label=name, color=palette[number % 7])
        panel.bar_label(bars, fmt="%.3f", rotation=90, padding=2, fontsize=7)
    panel.set_xticks(range(len(bases)), bases)
    panel.set_ylim(0, 1.22 * max(values[system] for _, _, system in rows))
    panel.set_xlabel("started from")
    panel.set_ylabel(label)
    legend(figure, [panel])
    return figure
