"""A first pass over the passages with fewer bits, and the proof that it missed nothing.

Processors multiply numbers of 16 bits faster than float32, and read them faster. Such a pass ranks passages roughly.
The best of them are scored again, and a passage that is not among them has a score of at most `most`. If that is lower
than the k-th score found, the k best are those of a search that scores every passage.

Let q and p be vectors, q' and p' the same with fewer bits, and a the inner product of q' and p' as it is computed. The
score s, the inner product of q and p, is at a distance from a of at most

    |q - q'| |p'| + |q| |p - p'| + d 2^-22 |q| |p| + u |a| / (1 - u)

by Cauchy and Schwarz. d is the width of vectors. The third part is for sums: in s and in a each of d additions is wrong
by at most 2^-24 of what it adds to in float32 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), by twice
that where bf16 products are added in pairs, and where matrix units cut off what float32 would round. u rounds a itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}
SUMS = 2.0**-22
LARGEST = 1e30  # of products of norms; beyond it sums may overflow
UNDERFLOW = 1e-30  # more than numbers that are too small for float32 can add up to
SMALLEST_HALF = 2.0**-24  # float16 is rounded to multiples of it at least

MOST_UNPROVED = 0.25
"""Part of the queries of a search; where a first pass proves nothing for more, there is none in later searches."""

ROWS_ON_CPU, ROWS_ON_GPU = 1024, 1 << 16
"""Rows that are rounded at once. On a CPU their rounding errors are still in the cache when they are added up."""


class Rounded(NamedTuple):
    """Vectors with fewer bits.

    Attributes:
        rows: [n, dim] float16, bf16 or float32.
        norm: float64 [n] or [], the norm of each, or the greatest, before it was rounded or after.
        error: the same of what rounding has changed.
        scale: float64 [n] or [], a power of two by which `rows` were divided; 1 but in float16.
    """

    rows: torch.Tensor
    norm: torch.Tensor
    error: torch.Tensor
    scale: torch.Tensor


def candidates(k: int) -> int:
    """Passages that a first pass finds for k."""
    return k + k // 4 + 64


def rounded_queries(queries: torch.Tensor, kind: torch.dtype) -> Rounded:
    """Queries float32 [n, dim], each with a scale, a norm and an error of its own."""
    scale = _scale(queries.abs().amax(dim=1), kind)
    exact = queries.double()
    rows = (exact / scale[:, None]).to(kind)
    return Rounded(rows, exact.norm(dim=1), (exact - rows.double() * scale[:, None]).norm(dim=1), scale)


def rounded_passages(block: torch.Tensor, kind: torch.dtype) -> Rounded:
    """A block of passages float32 [n, dim], with one scale, and the greatest norm and error."""
    scale = _scale(torch.stack(torch.aminmax(block)).abs().max(), kind)
    rows = block if kind == torch.float32 else torch.empty_like(block, dtype=kind)
    norms, errors = [], []
    at_once = ROWS_ON_CPU if block.device.type == "cpu" else ROWS_ON_GPU
    for start in range(0, len(block), at_once):
        part = block[start : start + at_once]
        norms.append(_greatest(part))
        if kind != torch.float32:
            fewer = rows[start : start + at_once]
            fewer.copy_(part if kind == torch.bfloat16 else part / scale.float())
            back = fewer if kind == torch.bfloat16 else fewer * scale.float()
            norms.append(_greatest(back))
            errors.append(_greatest(part - back))
    none = torch.zeros((), dtype=torch.float64, device=block.device)
    norm, error = (torch.stack([none, *each]).max() for each in (norms, errors))
    return Rounded(rows, norm, error, scale)


def most(
    worst: torch.Tensor, queries: Rounded, norm: torch.Tensor, error: torch.Tensor, scale: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """The greatest score that a passage can have that a first pass did not find.

    Args:
        worst: [n], the least product that it found for each query.
        queries: n of them.
        norm: of the passages that were searched, as in `Rounded`, or more.
        error: likewise.
        scale: of these passages.

    Returns:
        float64 [n]; infinite where there is no bound.
    """
    unit, sums = UNIT[worst.dtype], queries.rows.shape[1] * SUMS
    scales = queries.scale * scale
    found, lengths = worst.double() * scales, queries.norm * norm
    apart = queries.error * norm + queries.norm * error + sums / (1 - sums) * lengths
    smallest = scales * SMALLEST_HALF if worst.dtype == torch.float16 else 0.0
    # Norms and errors are a little uncertain as well: they are sums, and a query may be longer when it is rounded.
    bound = found + found.abs() * (unit / (1 - unit)) + apart * (1 + 2.0**-7) + smallest + UNDERFLOW
    return torch.where((lengths < LARGEST) & bound.isfinite(), bound, torch.inf)


def _greatest(rows: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).max().double()


def _scale(largest: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """The power of two above the largest numbers, float64: float16 has few exponents, and the others enough."""
    if kind != torch.float16:
        return torch.ones_like(largest, dtype=torch.float64)
    return power_of_two(torch.frexp(largest).exponent)


def power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """2 to the power of integers from -1022 to 1023, exactly, in float64."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)
