"""What a table or figure is made of before it has a name and a title."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

import pandas as pd
from matplotlib.figure import Figure

# A table's column of this name holds the marks of the column before it: letters of baselines.
MARKS = ", differs from"
LOWER = " ↓"


class Content(TypedDict, total=False):
    """What an `Item` says and shows, beside its name, title and category."""

    caption: str
    paper: str
    here: str
    table: pd.DataFrame
    digits: Mapping[str, int]
    figure: Callable[[], Figure]
