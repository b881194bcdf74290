"""The scores and means that claims are checked against."""

from __future__ import annotations

import pandas as pd

from hardneg.report.material import Material


def scores(material: Material) -> pd.DataFrame:
    """The rows of `Material.per_query` for the report's split and main measure."""
    rows = material.per_query
    return rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]


def measured(material: Material, split: str, measure: str) -> pd.Series:
    """The means on a split by one measure, by system."""
    measures = material.measures
    return measures[(measures["split"] == split) & (measures["measure"] == measure)].set_index("system")["value"]


def queries_of(material: Material, split: str) -> int:
    """The number of scored queries of a split."""
    return int(material.per_query.loc[material.per_query["split"] == split, "query_id"].nunique())
