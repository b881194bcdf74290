"""The content of a table or figure, before it gets a name and a title."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import pandas as pd
from matplotlib.figure import Figure

# A column whose name ends in this holds marks for the column before it: the letters of baselines.
MARKS = ", differs from"
LOWER = " ↓"
P_VALUE = -1
"""In place of a number of decimals: the column holds p-values."""


class Content(TypedDict, total=False):
    """The fields of an `Item` other than its name, title and category."""

    caption: str
    paper: str
    here: str
    table: pd.DataFrame
    digits: Mapping[str, int]
    figure: Callable[[], Figure]
    printed: Sequence[str]
