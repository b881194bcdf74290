"""Scores on several collections, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hardneg.config.elsewhere import MEAN

COLLECTIONS = "collections.csv"
"""The file that a study keeps them in, beside `measures.csv`."""

COLUMNS = ["system", "collection", "split", "measure", "value", "queries"]


def over_collections(scored: Sequence[tuple[str, str, str, pd.DataFrame]]) -> pd.DataFrame:
    """The mean over queries on each collection, and the plain mean of these over collections.

    Each collection weighs the same in the mean, however many queries it has, as in the tables of BEIR.

    Args:
        scored: collection, split, system, and query_id, measure, value of each query; every system comes on every
            collection.

    Returns:
        `COLUMNS`, collections, systems and measures in the order given. The last rows are those of the collection
        `MEAN`: their split is empty, and `queries` is the sum.
    """
    rows = []
    for collection, split, system, values in scored:
        for measure, group in values.groupby("measure", sort=False):
            rows.append((system, collection, split, measure, float(group["value"].mean()), len(group)))
    each = pd.DataFrame(rows, columns=COLUMNS)
    over = each.groupby(["system", "measure"], sort=False).agg(value=("value", "mean"), queries=("queries", "sum"))
    mean = over.reset_index().assign(collection=MEAN, split="")
    return pd.concat([each, mean[COLUMNS]], ignore_index=True)
