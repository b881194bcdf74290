"""The greatest scores of many, found by way of cells of them."""

from __future__ import annotations

import math

import torch

LEAST_WIDTH = 4
"""Fewest scores in a cell with which it takes less time to sort out the cells first."""


def top(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k greatest scores of each row, greatest first, and their columns; any of those that equal.

    Columns that lie `count` apart form a cell. The greatest scores are in the k cells with the highest maxima, or in
    the columns that are left over. Sorting out first the cells and then what is in them is less work than all scores.

    Args:
        scores: float of any precision [n, columns].
        k: at least 1, at most the columns.

    Returns:
        float32 [n, k] and int64 [n, k].
    """
    columns = scores.shape[1]
    width = math.isqrt(columns // k)
    if width < LEAST_WIDTH:
        values, column = scores.float().topk(k)
        return values, column
    count = columns // width
    cells = scores[:, : count * width].view(len(scores), width, count)
    best = cells.amax(dim=1).topk(k, sorted=False).indices[:, None]
    numbers = best + count * torch.arange(width, device=scores.device)[:, None]
    rest = torch.arange(count * width, columns, device=scores.device).expand(len(scores), -1)
    column = torch.cat([numbers.flatten(1), rest], dim=1)
    values, place = scores.gather(1, column).float().topk(k)
    return values, column.gather(1, place)
