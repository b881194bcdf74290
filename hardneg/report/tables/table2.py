"""Table 2: effectiveness, with marks of significance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from string import ascii_letters

import pandas as pd

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.claims.budgets import BUDGETS, budgets, compared
from hardneg.report.claims.differences import LEVEL, tested
from hardneg.report.claims.kinds import of_kind, starts
from hardneg.report.claims.values import measured, queries_of, scores
from hardneg.report.claims.verdicts import TESTED, Claim, verdict
from hardneg.report.content import LOWER, MARKS, Content
from hardneg.report.material import Material


def table2(material: Material) -> Content:
    """Effectiveness by system, split and measure, with marks for significant differences."""
    tests = material.marks if len(material.marks) else material.significance
    baselines = [system for system in material.systems["system"] if system in set(tests["baseline"])]
    letters = dict(zip(baselines, _letters(), strict=False))
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
                marks = _marks(tests, split, measure, letters)
                table[name + MARKS] = [marks.get(system, "") for system in table["system"]]
    for what, column in budgets(material).items():
        table[str(what)] = table["system"].map(column)
    counts = ", ".join(f"{queries_of(material, split):,} queries of {split}" for split in splits)
    return {
        "caption": f"Effectiveness on {material.dataset}: means over {counts}. Higher is better, except with{LOWER}. "
        + _legend(material, letters)
        + f" {BUDGETS}",
        "paper": "On MS MARCO Dev Passage (MRR@10), ADORE improves every starting model (In-Batch Neg 0.264 "
        "to 0.316, Rand Neg 0.301 to 0.326, BM25 Neg 0.309 to 0.329, ANCE 0.338 to 0.341, STAR 0.340 to 0.347); STAR "
        "beats random and static hard negatives. ADORE+STAR is the best dense system, on this set and on MS MARCO Dev "
        "Doc (MRR@100 0.405).",
        "here": verdict(_effectiveness_claims(material), TESTED, "no system is trained like STAR or ADORE"),
        "table": table,
        "digits": digits,
        "printed": ["system", *digits],
    }


def _effectiveness_claims(material: Material) -> list[Claim]:
    """The paper's claims about Table 2."""
    rows = scores(material)
    means = rows.groupby("system", sort=False)["value"].mean()
    start_of = starts(material)
    star, adore = ([system for system in of_kind(material, kind) if system in means] for kind in ("STAR", "ADORE"))
    pairs = [(system, start_of[system]) for system in adore if start_of.get(system) in means]
    others = [system for system in of_kind(material, "random", "static hard") if system in means]
    rivals = [(system, other) for system in star for other in others]
    claims = []
    for each in tested(rows, [*pairs, *rivals]):
        pair = (each.system, each.baseline)
        if pair in rivals:
            given = compared(material, *pair)
            text, refuted = f"{each.text()}{f' {given}' * bool(given)}", "STAR is not above random and static negatives"
        else:
            text, refuted = each.text(), "ADORE is not above what it starts from"
        claims.append(Claim(each.higher, text, refuted))
    on_star = [system for system in adore if start_of.get(system) in star]
    if on_star:
        best = str(means.drop(of_kind(material, "other"), errors="ignore").idxmax())
        text = f"the best trained system is {best} with {means[best]:.4f} (by the means, untested)"
        claims.append(Claim(best in on_star, text, "another system than ADORE on STAR has the highest mean"))
    return claims


def _letters() -> Iterator[str]:
    """The letters, then each with 1, and so on, which can be told apart where they stand side by side."""
    yield from ascii_letters
    yield from (f"{letter}{number}" for number in count(1) for letter in ascii_letters)


def _marks(tests: pd.DataFrame, split: str, measure: str, letters: Mapping[str, str]) -> dict[str, str]:
    """The letters of the baselines that each system differs from. ▼ precedes those it is worse than."""
    chosen = tests[(tests["split"] == split) & (tests["measure"] == measure) & (tests["p_t_holm"] < LEVEL)]
    marks: dict[str, list[str]] = {}
    for row in chosen.to_dict("records"):
        letter, better = letters[row["baseline"]], (row["difference"] > 0) != lower_is_better(measure)
        marks.setdefault(row["system"], []).append(letter if better else f"▼{letter}")
    # Letters sort before ▼.
    return {system: "".join(sorted(found)) for system, found in marks.items()}


def _legend(material: Material, letters: Mapping[str, str]) -> str:
    if not letters:
        return "No systems were tested against each other."
    named = ", ".join(f"{letter} {baseline}" for baseline, letter in letters.items())
    over = "every system against these baselines" if len(material.marks) else "each system against its own baselines"
    return (
        f"Letters: significantly better than {named}. ▼: significantly worse (paired t-test, {over}, Holm's "
        f"correction, p < {LEVEL})."
    )
