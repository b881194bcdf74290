"""The values that claims are judged by."""

from __future__ import annotations

import pandas as pd

from hardneg.report.material import Material


def scores(material: Material) -> pd.DataFrame:
    """The rows of `Material.per_query` that rank systems: the report's split, the main measure."""
    rows = material.per_query
    return rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]


def measured(material: Material, split: str, measure: str) -> pd.Series:
    """Means by system."""
    chosen = material.measures
    return chosen[(chosen["split"] == split) & (chosen["measure"] == measure)].set_index("system")["value"]


def queries_of(material: Material, split: str) -> int:
    """How many queries of a split are scored."""
    return int(material.per_query.loc[material.per_query["split"] == split, "query_id"].nunique())
