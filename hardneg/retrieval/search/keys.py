"""A score and a position in one number, which sorts by both."""

from __future__ import annotations

import torch

LAST_POSITION = 2**32 - 1
LOWEST = -(2**63)  # below every key


def pack(scores: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Pack a score and a position into one int64 key. Better results have greater keys: score, then lower position.

    The bits of a float32, read as an integer, sort like the floats once the lower 31 bits of negative numbers are
    inverted. Adding 0.0 turns -0.0 into 0.0.
    """
    bits = (scores + 0.0).view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * 2**32 + (LAST_POSITION - positions)


def unpack(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions int64 and scores float32 of keys made by `pack`."""
    return LAST_POSITION - (keys & LAST_POSITION), scores_in(keys)


def scores_in(keys: torch.Tensor) -> torch.Tensor:
    """The scores alone."""
    bits = (keys >> 32).int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
