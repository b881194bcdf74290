"""The first screen: what won, by how much and how surely, what it cost, and where BM25 is still better."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.evaluation.measures import significance_table
from hardneg.report.claims.differences import LEVEL
from hardneg.report.claims.values import scores
from hardneg.report.material import Material
from hardneg.report.tables.bm25_wins import lexical_wins
from hardneg.report.text import by_system, duration, interval, main_comparisons, p_value, signed


def summary(material: Material) -> list[str]:
    """Sentences about the best system, its lead over the runner-up and each of its baselines, BM25, and the cost."""
    ranking = ranked(material)
    best, value = str(ranking.index[0]), ranking.iloc[0]
    place = f"is the best of {len(ranking)} systems" if len(ranking) > 1 else "is the only system"
    sentences = [f"On {material.split}, {best} {place}, with {material.main_measure} {value:.4f}."]
    sentences += [
        f"Its lead over {other} is {signed(row['difference'])} (95% interval {interval(row)}; "
        f"{'significant' if row[p] < LEVEL else 'not significant'}, {named} {p_value(row[p])}, "
        f"{row['queries']:,} queries)."
        for other, row, p, named in _leads(material, ranking)
    ]
    if material.lexical is not None:
        sentences.append(lexical_wins(material.lexical))
    return [*sentences, _cost(material, best)]


def ranked(material: Material) -> pd.Series:
    """The main measure by system, the best first."""
    values = by_system(material.measures, material.split)[material.main_measure].dropna()
    return values.sort_values(ascending=lower_is_better(material.main_measure), kind="stable")


def _leads(material: Material, ranking: pd.Series) -> Iterator[tuple[str, Mapping[Hashable, Any], str, str]]:
    """The tests of the best system: the other one in words, the row, the column of the p-value and its name."""
    best, runner_up = str(ranking.index[0]), str(ranking.index[1]) if len(ranking) > 1 else None
    own = main_comparisons(material)
    rows = {str(row["baseline"]): row for row in own[own["system"] == best].to_dict("records")}
    if runner_up is not None and runner_up not in rows:
        # Nobody asked for this test beforehand, so it is told apart from those of the study.
        tests = significance_table(scores(material), [(best, runner_up)], resamples=0)
        for row in tests.to_dict("records"):
            yield f"the runner-up, {runner_up},", row, "p_t", "p of this pair alone"
    for baseline in sorted(rows, key=lambda name: name != runner_up):
        other = f"the runner-up, {baseline}," if baseline == runner_up else baseline
        yield other, rows[baseline], "p_t_holm", "corrected p"


def _cost(material: Material, best: str) -> str:
    total = duration(float(material.costs["seconds"].sum()))
    own = material.training_costs[material.training_costs["system"] == best].to_dict("records")
    if not own:
        return f"It needs no training. All stages of this report took {total}."
    return (
        f"Training it took {duration(own[0]['seconds'])}, and {duration(own[0]['whole_seconds'])} with all systems "
        f"it builds on. All stages of this report took {total}."
    )
