"""A first pass over the passages in bf16, and the proof that nothing was missed.

Processors that multiply bf16 numbers do it about twice as fast as float32. Such a pass ranks passages roughly. The best
of them are scored again in float32, and a passage that was not among them has a float32 score of at most `most`. If
that is lower than the k-th score found, the k best are those of a search in float32.

Let q and p be vectors, q' and p' their bf16 values, and a the inner product of these as it is computed. Its distance
from the inner product s of q and p as float32 computes it is at most

    |q - q'| |p'| + |q| |p - p'| + 3 g |q| |p| + u |a| / (1 - u)

by Cauchy and Schwarz. g bounds the error of a sum of float32 products (Higham, Accuracy and Stability of Numerical
Algorithms, 3.1): one g for s and two for a, since bf16 products are added in pairs. u = 2^-8 rounds the result to bf16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from hardneg.model.products import halves_by_onednn

ROWS_AT_ONCE = 1024  # their rounding errors are still in the cache when they are added up

PAYS = 1024
"""Passages for each one that is scored again; with fewer, the first pass saves less time than scoring again takes."""

LEAST_QUERIES = 256
"""Queries in a search for which passages are rounded that are not kept."""

ROUNDING = 2.0**-8
FLOAT32_ROUNDING = 2.0**-24
LARGEST = 1e30
"""Of products of norms. Where they are larger, a sum may overflow."""

UNDERFLOW = 1e-30
"""More than what numbers that are too small for float32 can add up to."""


class Half(NamedTuple):
    """A block in bf16.

    Attributes:
        rows: bf16 [n, dim].
        norm: the greatest norm of a row, before it was rounded or after.
        error: the greatest norm of what rounding changed in a row.
    """

    rows: torch.Tensor
    norm: float
    error: float


def half(block: torch.Tensor) -> Half:
    """Round a float32 block [n, dim]."""
    rows = torch.empty_like(block, dtype=torch.bfloat16)
    norm = error = 0.0
    for start in range(0, len(block), ROWS_AT_ONCE):
        part = block[start : start + ROWS_AT_ONCE]
        rounded = rows[start : start + ROWS_AT_ONCE].copy_(part)
        norm = max(norm, _largest(part), _largest(rounded))
        error = max(error, _largest(part - rounded))
    return Half(rows, norm, error)


def _largest(rows: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).max())


def candidates(k: int) -> int:
    """Passages that a first pass finds for k."""
    return k + k // 4 + 64


def pay(rows: int, k: int, queries: int, kept: bool) -> bool:
    """Whether to search `rows` passages in two passes; `kept`: they are kept in bf16 between searches."""
    return halves_by_onednn() and rows >= PAYS * candidates(k) and queries >= (1 if kept else LEAST_QUERIES)


def most(worst: torch.Tensor, queries: torch.Tensor, norm: float, error: float) -> torch.Tensor:
    """The greatest float32 score that a passage can have that a first pass did not find.

    Args:
        worst: [n] float, the least product that it found for each query.
        queries: [n, dim] float32.
        norm: as `Half.norm`, of all blocks.
        error: as `Half.error`, of all blocks.

    Returns:
        [n] float64; infinite where there is no bound.
    """
    asked, given = queries.double(), worst.double()
    length, rounded = asked.norm(dim=1), (asked - queries.bfloat16().double()).norm(dim=1)
    sums = asked.shape[1] * FLOAT32_ROUNDING
    relative = 3 * sums / (1 - sums) * (1 + ROUNDING)  # the rounded query may be that much longer
    bound = given + given.abs() * (ROUNDING / (1 - ROUNDING))
    # Norms were computed in float32, so they are a little uncertain as well.
    bound += (rounded * norm + length * error + relative * length * norm) * (1 + relative) + UNDERFLOW
    return torch.where((length * norm < LARGEST) & bound.isfinite(), bound, torch.inf)
