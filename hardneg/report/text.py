"""Text of the report: the summary's sentences, a table for the terminal, and the format of values."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from numbers import Real
from typing import Any

import pandas as pd

from hardneg.evaluation.measure_names import KNOWN, lower_is_better
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import LOWER, P_VALUE
from hardneg.report.material import Material

MISSING = "–"

_MEASURE = re.compile(
    "|".join(rf"\b{name}(\(rel=\d+\))?@\d+" if known.needs_cut else rf"\b{name}\b" for name, known in KNOWN.items())
)
_SERVED = "served on "  # the columns of Table 3


def measures_text(measures: pd.DataFrame, split: str) -> str:
    """Scores on one split as an aligned text table. A star marks the best value of each measure."""
    table = by_system(measures, split)
    best = pd.DataFrame({name: table[name].eq(_best(table[name], lower_is_better(str(name)))) for name in table})
    return _starred(table, best, split)


def collections_text(several: pd.DataFrame, measure: str) -> str:
    """Scores by one measure on several collections, and their mean, as an aligned text table; stars as above."""
    chosen = several[several["measure"] == measure]
    named = chosen.assign(measure=chosen["collection"], split=measure)
    table = by_system(named, measure)
    best = pd.DataFrame({name: table[name].eq(_best(table[name], lower_is_better(measure))) for name in table})
    return _starred(table, best, f"{measure} by collection")


def _starred(table: pd.DataFrame, best: pd.DataFrame, heading: str) -> str:
    text = table.map("{:.4f}".format).where(table.notna(), MISSING) + best.replace({True: "*", False: " "})
    return text.rename_axis(index=None, columns=heading).to_string()


def main_split(measures: pd.DataFrame) -> str:
    """The split that ranks the systems: test, or the last one."""
    splits = list(measures["split"].unique())
    return "test" if "test" in splits else str(splits[-1])


def by_system(measures: pd.DataFrame, split: str) -> pd.DataFrame:
    """Values on one split, by system (rows) and measure (columns), in the order of `measures`."""
    chosen = measures[measures["split"] == split]
    table = chosen.pivot(index="system", columns="measure", values="value")
    return table.reindex(index=chosen["system"].unique(), columns=chosen["measure"].unique())


def main_comparisons(material: Material) -> pd.DataFrame:
    """The rows of `material.significance` for the main measure on the report's split."""
    rows = material.significance
    return rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]


def verdict(difference: float, p: float) -> str:
    """The verdict on a difference, given its corrected p-value."""
    if not p < LEVEL:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def duration(seconds: float) -> str:
    """A duration in a readable unit, such as 8.3 s, 95 s, 12 min or 5.4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def signed(value: float) -> str:
    """A difference with its sign and four decimals."""
    return MISSING if pd.isna(value) else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def interval(row: Mapping[Hashable, Any]) -> str:
    """The 95% interval of a row."""
    return f"{signed(row['ci_low'])} to {signed(row['ci_high'])}"


def p_value(value: float) -> str:
    """A p-value with four decimals and no zero before the point, or `<.0001`, as the field prints it."""
    if pd.isna(value):
        return MISSING
    return "<.0001" if value < 0.0001 else f"{value:.4f}".removeprefix("0")


def cell_text(value: Any, digits: int = 0) -> str:
    """The text of a cell: numbers with `digits` decimals and thousands separators, a dash for missing values.

    `digits` may be `hardneg.report.content.P_VALUE`.
    """
    if pd.isna(value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Real) and digits == P_VALUE:
        return p_value(float(value))
    if isinstance(value, Real):
        return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return str(value)


def best_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each cell is the best of its column (ties included): bool, in the shape of `table`.

    Only columns of measures have a best value: the highest, or the lowest if the measure or the heading (`LOWER`) says
    so. A column of equal values has none.
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
