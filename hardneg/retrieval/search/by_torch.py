"""What a GPU's search does with a block of passages, by torch."""

from __future__ import annotations

import torch

from hardneg.retrieval.search.cells import top
from hardneg.retrieval.search.first_pass import power_of_two
from hardneg.retrieval.search.keys import pack
from hardneg.retrieval.search.sizes import NUMBERS_AT_ONCE

CELL = 1
"""Passages that are chosen together."""


def chosen(asked: torch.Tensor, rows: torch.Tensor, count: int, wide: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The passages with the highest products, of which none that is left out has a higher one than the number beside.

    Args:
        asked: queries [n, dim] of any float.
        rows: passages [m, dim] of the same.
        count: how many of them there are; the others are padding.
        wide: cells of `CELL` passages to choose for each query.

    Returns:
        The least product of a cell that was chosen, [n] of the dtype of the products, and the numbers of the passages,
        int64 [n, wide x CELL], among which may be padding.
    """
    products = torch.mm(asked, rows.T)
    values, numbers = top(products[:, :count], wide)
    return values[:, -1].to(products.dtype, copy=True), numbers  # a view would keep all values


def keys(queries: torch.Tensor, rows: torch.Tensor, numbers: torch.Tensor, count: int, start: int) -> torch.Tensor:
    """The keys of `inner_products` with some passages, which are not padding.

    Args:
        queries: float32 [n, dim].
        rows: passages float32 [m, dim].
        numbers: of passages, int64 [n, any number].
        count: how many passages there are; the others are padding.
        start: the position of the first.

    Returns:
        int64 [n, any number], as `pack` makes them.
    """
    at_once = max(1, NUMBERS_AT_ONCE // max(1, queries.numel()))
    parts = torch.split(numbers, at_once, dim=1)
    return torch.cat([pack(inner_products(queries, rows[part]), start + part) for part in parts], dim=1)


def every(queries: torch.Tensor, rows: torch.Tensor, start: int, k: int) -> torch.Tensor:
    """Keys [n, min(k, rows)] of the best rows of a block, all of which are scored."""
    numbers = torch.arange(len(rows), device=rows.device).expand(len(queries), -1)
    at_once = max(k, NUMBERS_AT_ONCE // max(1, queries.numel()))
    best: list[torch.Tensor] = []
    for part in torch.split(numbers, at_once, dim=1):
        found = torch.cat([*best, keys(queries, rows, part, len(rows), start)], dim=1)
        best = [found.topk(min(k, found.shape[1]), sorted=False).values]
    return best[0]


def inner_products(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Inner products as float32, whose bits depend on nothing but the two vectors, on any device.

    A product of two float32 numbers is exact in float64. Here it is cut off to a whole number of units, of which 2^62
    are more than their sum can be, and whole numbers have the same sum in any order. With vectors of width d, a sum is
    wrong by at most d units: less than d^2 2^-59 of the product of their norms, before it is rounded to float32.

    Args:
        queries: float32 [n, dim].
        passages: float32 [n, m, dim].

    Returns:
        float32 [n, m].
    """
    asked, given = (torch.linalg.vector_norm(each, ord=torch.inf, dim=-1) for each in (queries, passages))
    largest = torch.frexp(asked).exponent[:, None] + torch.frexp(given).exponent
    exponent = largest + (queries.shape[1] - 1).bit_length() - 62  # of a unit
    products = queries.double()[:, None] * passages
    units = products.mul_(power_of_two(-exponent)[..., None]).long().sum(dim=2)
    return (units.double() * power_of_two(exponent)).float()
