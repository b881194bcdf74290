"""The same as `by_torch`, by two kernels in Triton, which read the passages once and write little.

The products of a block are never written: only the highest of each cell of `CELL` passages that follow each other. The
passages of the best cells are scored.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from hardneg.retrieval.search.cells import top
from hardneg.retrieval.search.keys import LAST_POSITION, LOWEST

CELL = 4
"""Passages that are chosen together."""

FEW = 32
"""Queries at most with which memory is the limit of a product, and not arithmetic."""

MANY = 80
"""Queries with which torch's choice of the best among all columns takes longer than `top`."""

AT_ONCE = 4096
"""Numbers of passages that a program scores together; the widest vectors are alone."""


def chosen(asked: torch.Tensor, rows: torch.Tensor, count: int, wide: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See `by_torch.chosen`; of float16 numbers, and for a number of rows that `CELL` divides."""
    best = highest(asked, rows)
    values, cells = best.topk(wide, sorted=False) if len(best) < MANY else top(best, wide)
    numbers = cells[..., None] * CELL + torch.arange(CELL, device=rows.device)
    return values.amin(dim=1).to(asked.dtype), numbers.flatten(1)


def highest(asked: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The highest product with the passages of each cell: float16 [n, cells] of [n, dim] and [cells x CELL, dim]."""
    (n, dim), cells = asked.shape, len(rows) // CELL
    made = torch.empty((n, cells), dtype=asked.dtype, device=asked.device)
    few = n <= FEW
    tile = (FEW, 128) if few else (128, 256)
    grid = (triton.cdiv(n, tile[0]) * triton.cdiv(len(rows), tile[1]),)
    launch = {"num_warps": 4, "num_stages": 4} if few else {"num_warps": 8, "num_stages": 3}
    with torch.cuda.device_of(rows):  # Triton starts kernels on the current GPU
        _highest[grid](asked, rows, made, n, len(rows), cells, dim, CELL, *tile, 64, **launch)
    return made


def keys(queries: torch.Tensor, rows: torch.Tensor, numbers: torch.Tensor, count: int, start: int) -> torch.Tensor:
    """See `by_torch.keys`; the key of padding is LOWEST."""
    (n, wide), dim = numbers.shape, queries.shape[1]
    made = torch.empty_like(numbers)
    whole = triton.next_power_of_2(dim)
    together = max(1, AT_ONCE // whole)
    bits = (dim - 1).bit_length() - 62
    settings = (LAST_POSITION, LOWEST, together, whole)
    with torch.cuda.device_of(rows):
        _keys[triton.cdiv(wide, together), n](queries, rows, numbers, made, wide, count, start, dim, bits, *settings)
    return made


@triton.jit
def _highest(
    asked, rows, made, n, m, cells,
    DIM: tl.constexpr, CELL: tl.constexpr, QUERIES: tl.constexpr, PASSAGES: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    # Programs with the same passages follow each other, so that these come from memory once.
    tiles = tl.cdiv(n, QUERIES)
    query = tl.program_id(0) % tiles * QUERIES + tl.arange(0, QUERIES)
    tile = tl.program_id(0) // tiles
    passage = tile * PASSAGES + tl.arange(0, PASSAGES)
    part = tl.arange(0, DIMS)
    left = asked + query[:, None] * DIM + part[None, :]
    right = rows + passage[None, :].to(tl.int64) * DIM + part[:, None]
    products = tl.zeros((QUERIES, PASSAGES), tl.float32)
    for first in range(0, DIM, DIMS):
        inside = part < DIM - first
        of_queries = tl.load(left, mask=(query[:, None] < n) & inside[None, :], other=0.0)
        of_passages = tl.load(right, mask=(passage[None, :] < m) & inside[:, None], other=0.0)
        products = tl.dot(of_queries, of_passages, products)
        left += DIMS
        right += DIMS
    best = tl.max(tl.reshape(products, (QUERIES, PASSAGES // CELL, CELL)), 2)
    cell = tile * (PASSAGES // CELL) + tl.arange(0, PASSAGES // CELL)
    place = made + query[:, None].to(tl.int64) * cells + cell[None, :]
    tl.store(place, best.to(tl.float16), mask=(query[:, None] < n) & (cell[None, :] < cells))


@triton.jit
def _exponent(number):
    """As frexp: that of the power of two above a float64 number, and 0 for 0."""
    bits = number.to(tl.int64, bitcast=True)
    return tl.where(number == 0, 0, ((bits >> 52) & 0x7FF) - 1022)


@triton.jit
def _power_of_two(exponent):
    return ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _keys(
    queries, rows, numbers, made, wide, count, start, dim, bits,
    LAST: tl.constexpr, LOWEST: tl.constexpr, TOGETHER: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    # `inner_products` and `pack` for some of a query's passages: each number has the same bits as there.
    query = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TOGETHER + tl.arange(0, TOGETHER)
    number = tl.load(numbers + query * wide + place, mask=place < wide, other=0)
    there = (place < wide) & (number < count)
    part = tl.arange(0, WHOLE)
    asked = tl.load(queries + query * dim + part, mask=part < dim, other=0.0).to(tl.float64)
    given = tl.load(
        rows + number[:, None] * dim + part[None, :], mask=there[:, None] & (part[None, :] < dim), other=0.0
    ).to(tl.float64)
    unit = _exponent(tl.max(tl.abs(asked), 0)) + _exponent(tl.max(tl.abs(given), 1)) + bits
    products = asked[None, :] * given * _power_of_two(-unit)[:, None]
    score = (tl.sum(products.to(tl.int64), 1).to(tl.float64) * _power_of_two(unit)).to(tl.float32) + 0.0
    raw = score.to(tl.int32, bitcast=True)
    sorts = (raw ^ ((raw >> 31) & 0x7FFFFFFF)).to(tl.int64)
    key = sorts * (LAST + 1) + (LAST - (start + number))
    tl.store(made + query * wide + place, tl.where(number < count, key, LOWEST), mask=place < wide)
