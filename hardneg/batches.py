"""Batch axis: which columns of a batch's score matrix each query is compared with.

A batch of B queries with h mined negatives each has the columns: B positives (column i is row i's own), then B·h mined
negatives, row by row. Each function returns two masks bool [B, B + B·h], for in-batch and for mined columns; judged
positives are taken out of both afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Columns(NamedTuple):
    """Which columns are negatives of which row: in-batch positives of other rows, and mined negatives. bool [B, C]."""

    in_batch: np.ndarray
    mined: np.ndarray


def own(rows: int, mined: int) -> Columns:
    """`own`: each query's own mined negatives only."""
    none = np.zeros((rows, rows * (1 + mined)), bool)
    ours = none.copy()
    for row in range(rows):
        ours[row, rows + row * mined : rows + (row + 1) * mined] = True
    return Columns(none, ours)


def in_batch(rows: int, mined: int) -> Columns:
    """`in_batch`: the other rows' positives, and the mined negatives of all rows."""
    others = np.zeros((rows, rows * (1 + mined)), bool)
    others[:, :rows] = ~np.eye(rows, dtype=bool)
    return Columns(others, shared(rows, mined).mined)


def shared(rows: int, mined: int) -> Columns:
    """`shared`: the mined negatives of all rows, no other row's positive."""
    none = np.zeros((rows, rows * (1 + mined)), bool)
    everyone = none.copy()
    everyone[:, rows:] = True
    return Columns(none, everyone)
