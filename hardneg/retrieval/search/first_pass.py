"""A first pass over the passages with fewer bits, and the proof that it missed nothing.

Processors multiply numbers of 16 bits faster than float32, and read them faster. Such a pass ranks passages roughly.
The best of them are scored again, and `upper_bound` bounds the scores of all others. If the bound is lower than the
k-th score found, the k best are those of a search that scores every passage.

Let q and p be vectors, q' and p' the same with fewer bits, and a the inner product of q' and p' as it is computed. The
score s, the inner product of q and p, is at a distance from a of at most

    |q - q'| |p'| + |q| |p - p'| + d 2^-22 |q| |p| + u |a| / (1 - u)

by Cauchy and Schwarz. d is the width of vectors. The third part is for sums: in s and in a each of d additions is wrong
by at most 2^-24 of its result in float32 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), by twice
that where bf16 products are added in pairs, and where matrix units cut off what float32 would round. u rounds a itself.
Numbers that are too small for a format add a little, which `upper_bound` counts as well.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}
SUMS = 2.0**-22
LARGEST = 1e30  # of products of norms; beyond it sums may overflow
UNDERFLOW = 1e-30  # more than what is lost of a vector whose numbers are too small for float32
SMALLEST_HALF = 2.0**-24  # float16 is rounded to multiples of it at least
SMALLEST_SQUARE = 2.0**-63  # the square of what is smaller may count as 0

ROWS_ON_CPU, ROWS_ON_GPU = 1024, 1 << 16
"""Rows that are rounded at once. On a CPU their rounding errors are still in the cache when they are added up."""


class Rounded(NamedTuple):
    """Vectors with fewer bits.

    Attributes:
        rows: [n, dim] float16, bf16 or float32.
        norm: float64 [n], or [] the greatest: the norm of a vector, of a passage before it was rounded or after.
        error: float64, likewise: the norm of what rounding changed.
        scale: float64 [n] or [], a power of two by which `rows` were divided; 1 but in float16.
    """

    rows: torch.Tensor
    norm: torch.Tensor
    error: torch.Tensor
    scale: torch.Tensor


class Tally:
    """How often first passes have proved something.

    Attributes:
        asked: queries in all searches so far.
        unproved: those for which nothing was proved.
    """

    MOST, ENOUGH = 0.25, 100

    def __init__(self) -> None:
        self.asked = self.unproved = 0

    def add(self, asked: int, unproved: int) -> None:
        """Count another search."""
        self.asked += asked
        self.unproved += unproved

    def worth_it(self) -> bool:
        """Whether to go on: at most a quarter of the queries were searched in vain, or hardly any were yet."""
        return self.asked < self.ENOUGH or self.unproved <= self.MOST * self.asked


def candidates(k: int) -> int:
    """Passages that a first pass finds for k."""
    return k + k // 4 + 64


def rounded_queries(queries: torch.Tensor, kind: torch.dtype) -> Rounded:
    """Queries float32 [n, dim], each with a scale, a norm and an error of its own."""
    return measured(queries, *narrowed(queries, kind))


def narrowed(queries: torch.Tensor, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """`rows` and `scale` of rounded queries. A GPU can begin with its products before the rest is computed."""
    if kind != torch.float16:
        return queries.to(kind), torch.ones(len(queries), dtype=torch.float64, device=queries.device)
    scale = _power_above(torch.linalg.vector_norm(queries, ord=torch.inf, dim=1))
    return (queries / scale.float()[:, None]).half(), scale


def measured(queries: torch.Tensor, rows: torch.Tensor, scale: torch.Tensor) -> Rounded:
    """What `narrowed` made of queries, with its norms and errors."""
    back = rows.float() if rows.dtype != torch.float16 else rows * scale.float()[:, None]
    return Rounded(rows, _norms(queries), _norms(queries - back), scale)


def rounded_passages(block: torch.Tensor, kind: torch.dtype) -> Rounded:
    """A block of passages float32 [n, dim], with one scale, and the greatest norm and error."""
    scale = torch.ones((), dtype=torch.float64, device=block.device)
    if kind == torch.float16:
        scale = _power_above(torch.stack(torch.aminmax(block)).abs().max())
    narrow = scale.float()
    rows = block if kind == torch.float32 else torch.empty_like(block, dtype=kind)
    norms, errors = [], [torch.zeros_like(scale)]
    at_once = ROWS_ON_CPU if block.device.type == "cpu" else ROWS_ON_GPU
    for start in range(0, len(block), at_once):
        part = block[start : start + at_once]
        norms.append(_norms(part).max())
        if kind != torch.float32:
            fewer = rows[start : start + at_once]
            fewer.copy_(part / narrow if kind == torch.float16 else part)
            back = fewer.float() * narrow if kind == torch.float16 else fewer
            norms.append(_norms(back).max())
            errors.append(_norms(part - back).max())
    return Rounded(rows, torch.stack(norms).max(), torch.stack(errors).max(), scale)


def upper_bound(
    worst: torch.Tensor, queries: Rounded, norm: torch.Tensor, error: torch.Tensor, scale: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """What no passage that a first pass did not find can exceed with its score.

    Args:
        worst: [..., n], the least product that it found for each query.
        queries: n of them.
        norm: [...] or [..., 1], of the passages that were searched, as in `Rounded`, or more.
        error: likewise.
        scale: of these passages.

    Returns:
        float64 [..., n]; infinite where there is no bound.
    """
    unit, sums = UNIT[worst.dtype], queries.rows.shape[1] * SUMS
    scales, lengths = queries.scale * scale, queries.norm * norm
    found = worst.double() * scales
    apart = torch.addcmul(queries.norm * error, queries.error, norm).add_(lengths, alpha=sums / (1 - sums))
    tiny = (queries.norm + norm).add_(1).mul_(UNDERFLOW)
    if worst.dtype == torch.float16:
        tiny.add_(scales, alpha=SMALLEST_HALF)
    # Norms and errors are a little uncertain as well: they are sums, and a query may be longer when it is rounded.
    bound = tiny.add(found).add_(found.abs(), alpha=unit / (1 - unit)).add_(apart, alpha=1 + 2.0**-7)
    return torch.where(lengths < LARGEST, bound, torch.inf)


def _norms(rows: torch.Tensor) -> torch.Tensor:
    """The norm of each row [n, dim] or a little more: float64 [n]."""
    lost = rows.shape[1] ** 0.5 * SMALLEST_SQUARE
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).double() + lost


def _power_above(largest: torch.Tensor) -> torch.Tensor:
    """The power of two above each float32 number, in float64."""
    return power_of_two(torch.frexp(largest).exponent)


def power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """2 to the power of integers from -1022 to 1023, exactly, in float64."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)
