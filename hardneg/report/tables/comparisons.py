"""All tested differences."""

from __future__ import annotations

import pandas as pd

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import P_VALUE, Content
from hardneg.report.material import Material

COLUMNS = {
    "system": "system",
    "baseline": "baseline",
    "verdict": "verdict",
    "difference": "difference",
    "ci_low": "95% interval, low",
    "ci_high": "95% interval, high",
    "p_t_holm": "p (t, Holm)",
    "split": "split",
    "measure": "measure",
    "queries": "queries",
    "p_t": "p (t)",
    "p_randomisation": "p (randomisation)",
    "p_randomisation_holm": "p (randomisation, Holm)",
    "family": "corrected over",
}


def comparisons(material: Material) -> Content:
    """Every tested pair with its confidence interval and both tests."""
    families = {"named baselines": material.marks, "own baselines": material.significance}
    tests = pd.concat([tests.assign(family=name) for name, tests in families.items()], ignore_index=True)
    significant = tests["p_t_holm"] < LEVEL
    gain = tests["difference"] * tests["measure"].map(lambda measure: -1 if lower_is_better(measure) else 1)
    tests["verdict"] = (
        pd.Series("no difference shown", tests.index)
        .mask(significant & (gain > 0), "better")
        .mask(significant & (gain < 0), "worse")
    )
    # What people look for first stands first: the split and the measure that rank the systems, and the verdict.
    main = tests["split"].eq(material.split).astype(int) + tests["measure"].eq(material.main_measure)
    first = tests.assign(first=-main).sort_values("first", kind="stable", ignore_index=True)
    table = first[list(COLUMNS)].rename(columns=COLUMNS)
    return {
        "caption": f"Differences of means on {material.dataset}, system minus baseline, with 95% confidence intervals "
        "(paired t). Two-sided paired t-tests and randomisation tests over queries. Holm's correction covers all pairs "
        "of one split and measure, separately for the named baselines (the marks of Table 2) and for the systems' own "
        "baselines (BM25, the starting system, siblings). Verdict: corrected t-test at level "
        f"{LEVEL}.",
        "here": f"In {int((table['verdict'] == 'better').sum()):,} of {len(table):,} comparisons the system is better "
        f"than the baseline, and in {int((table['verdict'] == 'worse').sum()):,} it is worse.",
        "table": table,
        "printed": [*list(COLUMNS.values())[:7], "split", "measure"],
        "digits": dict.fromkeys([name for name in COLUMNS.values() if name.startswith("p (")], P_VALUE)
        | dict.fromkeys(["difference", "95% interval, low", "95% interval, high"], 4),
    }
