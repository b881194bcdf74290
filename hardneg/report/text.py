"""What the report says in words and numbers: sentences, tables for a terminal, how a value is written."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from numbers import Real
from typing import Any

import pandas as pd

from hardneg.evaluation.measure_names import KNOWN, lower_is_better
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import LOWER
from hardneg.report.material import Material

MISSING = "–"

_MEASURE = re.compile(
    "|".join(rf"\b{name}@\d+" if known.needs_cut else rf"\b{name}\b" for name, known in KNOWN.items())
)
_SERVED = "served on "  # Table 3's columns


def measures_text(measures: pd.DataFrame, split: str) -> str:
    """Systems by measures on one split as aligned text for a terminal; the best of each measure has a star."""
    table = by_system(measures, split)
    best = pd.DataFrame({name: table[name].eq(_best(table[name], lower_is_better(str(name)))) for name in table})
    text = table.map("{:.4f}".format).where(table.notna(), MISSING) + best.replace({True: "*", False: " "})
    return text.rename_axis(index=None, columns=split).to_string()


def by_system(measures: pd.DataFrame, split: str) -> pd.DataFrame:
    """Values on one split by system (rows) and measure (columns), both in the order given."""
    chosen = measures[measures["split"] == split]
    table = chosen.pivot(index="system", columns="measure", values="value")
    return table.reindex(index=chosen["system"].unique(), columns=chosen["measure"].unique())


def summary(material: Material) -> list[str]:
    """Say in sentences which system is best, its lead over each of its baselines, and its cost."""
    ranking = by_system(material.measures, material.split)[material.main_measure].dropna()
    best, value = str(ranking.idxmax()), ranking.max()
    systems = f"best of {len(ranking)} systems" if len(ranking) > 1 else "alone"
    sentences = [f"On {material.split}, {best} ranks {systems}, with {material.main_measure} {value:.4f}."]
    comparisons = main_comparisons(material)
    for row in comparisons[comparisons["system"] == best].to_dict("records"):
        certainty = "significant" if row["p_t_holm"] < LEVEL else "not significant"
        sentences.append(
            f"That is {signed(row['difference'])} over {row['baseline']} (95% interval {interval(row)}; {certainty}, "
            f"corrected p {p_value(row['p_t_holm'])}, {row['queries']:,} queries)."
        )
    total = duration(float(material.costs["seconds"].sum()))
    own = material.training_costs[material.training_costs["system"] == best].to_dict("records")
    if own:
        sentences.append(
            f"Training it took {duration(own[0]['seconds'])}, and {duration(own[0]['whole_seconds'])} with all systems "
            f"that it builds on; all stages of this report together took {total}."
        )
    else:
        sentences.append(f"It needs no training of its own; all stages of this report together took {total}.")
    return sentences


def main_comparisons(material: Material) -> pd.DataFrame:
    """The rows of `material.significance` for the main measure on the split by which systems are ranked."""
    rows = material.significance
    return rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]


def verdict(difference: float, p: float) -> str:
    """Better, worse, or neither shown, by a corrected p-value."""
    if not p < LEVEL:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def duration(seconds: float) -> str:
    """A length of time as people say it: 8.3 s, 95 s, 12 min, 5.4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def signed(value: float) -> str:
    """A difference: its sign always, four decimals."""
    return MISSING if pd.isna(value) else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def interval(row: Mapping[Hashable, Any]) -> str:
    """The ends of a row's interval."""
    return f"{signed(row['ci_low'])} to {signed(row['ci_high'])}"


def p_value(value: float) -> str:
    """A p-value with four decimals, or that it is smaller than that."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def cell_text(value: Any, digits: int = 0) -> str:
    """A table's cell as it is read: numbers with `digits` decimals and commas, a dash for what is missing."""
    if pd.isna(value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Real):
        return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return str(value)


def best_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Which cells are the best of their column, ties too.

    Only a measure's column has a best: the highest, or the lowest where the measure or the heading (`LOWER`) says so. A
    column that is the same all over has none.
    """
    best = pd.DataFrame(False, index=table.index, columns=table.columns)
    for name, values in table.select_dtypes("number").astype(float).items():
        measure = _MEASURE.search(str(name))
        lower = str(name).endswith(LOWER) or (measure is not None and lower_is_better(measure[0]))
        if (lower or measure or str(name).startswith(_SERVED)) and values.nunique() > 1:
            best[name] = values.eq(_best(values, lower))
    return best


def _best(values: pd.Series, lower: bool) -> float:
    return float(values.min() if lower else values.max())
