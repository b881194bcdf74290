"""All tested differences."""

from __future__ import annotations

import pandas as pd

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import Content
from hardneg.report.material import Material


def comparisons(material: Material) -> Content:
    """Every tested pair with its confidence interval and both tests."""
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
        "caption": f"Differences of means on {material.dataset}, system minus baseline, with 95% confidence intervals "
        "(paired t). Two-sided paired t-tests and randomisation tests over queries. Holm's correction covers all pairs "
        "of one split and measure, separately for the named baselines (the marks of Table 2) and for the systems' own "
        "baselines (BM25, the starting system, siblings). Verdict: corrected t-test at level "
        f"{LEVEL}.",
        "here": f"In {int((table['verdict'] == 'better').sum()):,} of {len(table):,} comparisons the system is better "
        f"than the baseline, and in {int((table['verdict'] == 'worse').sum()):,} it is worse.",
        "table": table,
        "digits": dict.fromkeys(list(columns.values())[5:12], 4),
    }
