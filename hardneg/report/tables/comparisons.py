"""Every tested difference."""

from __future__ import annotations

import pandas as pd

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import Content
from hardneg.report.material import Material


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
