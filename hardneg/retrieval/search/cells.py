"""The greatest scores of many, found by way of cells of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

LEAST_WIDTH = 4
"""Fewest scores in a cell with which it takes less time to sort out the cells first."""

WIDEST = 32
"""Most scores in a cell of a tile. With more, a row has too few cells for a vector register."""


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


def lower_bound(tiles: Sequence[torch.Tensor], k: int) -> torch.Tensor:
    """A number that k scores of a row are not below: the k-th of the maxima of its cells, at least 2k of them.

    Args:
        tiles: parts of the scores, float [n, any number of columns]; 2k columns or more in all.
        k: at least 1.

    Returns:
        float32 [n, 1]; NaN where k scores are not numbers.
    """
    width = min(sum(tile.shape[1] for tile in tiles) // (2 * k), WIDEST)
    width = 1 << (width.bit_length() - 1)
    highest = []
    for tile in tiles:
        if tile.shape[1] % width:
            tile = nn.functional.pad(tile, (0, -tile.shape[1] % width), value=-torch.inf)
        highest.append(tile.view(len(tile), width, tile.shape[1] // width).amax(dim=1))
    return torch.cat(highest, dim=1).float().topk(k, sorted=False).values.amin(dim=1, keepdim=True)
