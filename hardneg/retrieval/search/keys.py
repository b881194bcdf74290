"""A score and a position in one number, which sorts by both."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hardneg.retrieval.search.sizes import CELL

LAST_POSITION = 2**32 - 1
LOWEST = -(2**63)  # below every key


def higher(scores: torch.Tensor, least: torch.Tensor, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [m] and keys [m] of the scores [n, columns] above `least` [n, 1]; the first column is of passage `first`."""
    if scores.dtype == torch.bfloat16 and (least >= 0).all():
        # Integers are compared faster. The bits of numbers that are not negative sort as they do, above all others.
        scores, least = scores.view(torch.int16), least.bfloat16().view(torch.int16)
    width = CELL if scores.shape[1] % CELL == 0 else scores.shape[1]
    cells = scores.view(len(scores), scores.shape[1] // width, width)
    row, cell = (cells.amax(dim=2) > least).nonzero(as_tuple=True)
    found = cells[row, cell]
    which, column = (found > least[row]).nonzero(as_tuple=True)
    found = found[which, column]
    found = found.view(torch.bfloat16) if found.dtype == torch.int16 else found
    return row[which], pack(found.float(), first + cell[which] * width + column)


def by_row(found: Sequence[tuple[torch.Tensor, torch.Tensor]], n: int, k: int) -> torch.Tensor | None:
    """Keys [n, most of any row]; LOWEST fills rows. None if a row has more than k."""
    row, keys = (torch.cat(parts) for parts in zip(*found, strict=True))
    counts = row.bincount(minlength=n)
    width = int(counts.max()) if n else 0
    if width > k:
        return None
    order = row.argsort(stable=True)
    row, keys = row[order], keys[order]
    table = torch.full((n, width), LOWEST, device=keys.device)
    table[row, torch.arange(len(row), device=keys.device) - (counts.cumsum(0) - counts)[row]] = keys
    return table


def pack(scores: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Pack a score and a position into one int64 key. Better results have greater keys: score, then lower position.

    The bits of a float32, read as an integer, sort like the floats once the lower 31 bits of negative numbers are
    inverted. Adding 0.0 turns -0.0 into 0.0.
    """
    bits = (scores + 0.0).view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * 2**32 + (LAST_POSITION - positions)


def unpack(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions int64 and scores float32 of keys made by `pack`."""
    bits = (keys >> 32).int()
    scores = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return LAST_POSITION - (keys & LAST_POSITION), scores
