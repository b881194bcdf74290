"""Exact search on a GPU: a first pass in float16, and scores that depend on nothing but the two vectors.

A GPU's library chooses a kernel by the shape of a product, and with it the last bits. So products only choose which
passages are scored. The score is `inner_products`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hardneg.retrieval.search import first_pass
from hardneg.retrieval.search.blocks import checked_rows
from hardneg.retrieval.search.cells import top
from hardneg.retrieval.search.first_pass import Rounded, power_of_two
from hardneg.retrieval.search.keys import pack, unpack
from hardneg.retrieval.search.sizes import COLUMNS, NUMBERS_AT_ONCE
from hardneg.retrieval.search.vectors import VectorStore

MORE = 8  # times as many candidates, where they proved nothing


class GpuShare:
    """One GPU's share of the passages: the blocks of `size` rows that begin at `starts`.

    Args:
        vectors: the passages.
        device: the GPU.
        starts: the first rows of the blocks.
        size: rows in a block.
        resident: keep the passages there as float32, and as float16 if half of the free memory has room for that.
        query_batch: queries in a product.
    """

    def __init__(
        self,
        vectors: VectorStore,
        device: torch.device,
        starts: Sequence[int],
        size: int,
        resident: bool,
        query_batch: int,
    ) -> None:
        self.vectors, self.device, self.starts = vectors, device, starts
        self._size, self._query_batch = size, query_batch
        self._blocks = [self._read(start) for start in starts] if resident else None
        self._halves = not self._blocks or has_room(device, sum(block.numel() for block in self._blocks) * 2)
        self._tally = first_pass.Tally()
        self._rounded: dict[tuple[int, torch.dtype], Rounded] = {}

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages, in no particular order.

        Queries for which a pass proves nothing have another, in float32, with more candidates. After that every passage
        is scored, which takes long; it is for queries whose k-th passage has hundreds of equals.
        """
        queries, count = queries.to(self.device), first_pass.candidates(k)
        passes = [(torch.float32, MORE * count), (None, 0)]
        with torch.autocast(self.device.type, enabled=False):
            if self._halves:
                keys, left = self._pass(queries, k, torch.float16, count)
                self._tally.add(len(queries), len(left))
                if not self._tally.worth_it():
                    self._halves = False
                    self._rounded.clear()
            else:
                keys, left = self._pass(queries, k, torch.float32, count)
            for kind, wide in passes:
                if len(left) == 0:
                    break
                keys[left], still = self._pass(queries[left], k, kind, wide)
                left = left[still]
        return keys

    def _pass(
        self, queries: torch.Tensor, k: int, kind: torch.dtype | None, wide: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best keys [n, at most k], and the numbers of queries for which another passage may be as good.

        Args:
            queries: float32 [n, dim].
            k: passages for each.
            kind: of the numbers that choose what is scored. None: everything is.
            wide: how many passages of a block are chosen.
        """
        batches = torch.split(queries, self._query_batch)
        asked = [first_pass.rounded_queries(batch, kind or torch.float32) for batch in batches]
        best: list[torch.Tensor | None] = [None] * len(batches)
        bound = [torch.full((len(batch),), -torch.inf, dtype=torch.float64, device=self.device) for batch in batches]
        for number, start in enumerate(self.starts):
            rows = self._blocks[number] if self._blocks else self._read(start)
            count = min(self._size, self.vectors.rows - start)
            passages = None if kind is None or count <= wide else self._round(number, rows, kind)
            for at, batch in enumerate(batches):
                if passages is None:
                    keys = _every(batch, rows[:count], start, k)
                else:
                    products = torch.mm(asked[at].rows, passages.rows.T)
                    values, chosen = top(products[:, :count], wide)
                    worst = values[:, -1].to(kind)
                    bound[at] = torch.maximum(bound[at], first_pass.upper_bound(worst, asked[at], *passages[1:]))
                    keys = pack(_scores(batch, rows, chosen), start + chosen)
                before = best[at]
                keys = keys if before is None else torch.cat([before, keys], dim=1)
                best[at] = keys.topk(min(k, keys.shape[1]), sorted=False).values
            del rows, passages  # before the next block is read
        found = torch.cat([keys for keys in best if keys is not None])
        proved = torch.cat(bound) < unpack(found.amin(dim=1))[1]
        return found, proved.logical_not().nonzero().squeeze(1)

    def _round(self, number: int, rows: torch.Tensor, kind: torch.dtype) -> Rounded:
        """A block with fewer bits, which is kept if the block is."""
        if (number, kind) in self._rounded:
            return self._rounded[number, kind]
        rounded = first_pass.rounded_passages(rows, kind)
        if self._blocks:
            self._rounded[number, kind] = rounded
        return rounded

    def _read(self, start: int) -> torch.Tensor:
        block = checked_rows(self.vectors, start, self._size, COLUMNS).to(self.device)
        self.vectors.forget()  # the host needs them no more
        return block


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


def _scores(queries: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Scores float32 [n, m] of queries [n, dim] for the rows whose numbers are `chosen` [n, m]."""
    at_once = max(1, NUMBERS_AT_ONCE // max(1, queries.numel()))
    return torch.cat([inner_products(queries, rows[part]) for part in torch.split(chosen, at_once, dim=1)], dim=1)


def _every(queries: torch.Tensor, rows: torch.Tensor, start: int, k: int) -> torch.Tensor:
    """Keys [n, min(k, rows)] of the best rows of a block, all of which are scored."""
    numbers = torch.arange(len(rows), device=rows.device).expand(len(queries), -1)
    at_once = max(k, NUMBERS_AT_ONCE // max(1, queries.numel()))
    best: list[torch.Tensor] = []
    for part in torch.split(numbers, at_once, dim=1):
        keys = torch.cat([*best, pack(_scores(queries, rows, part), start + part)], dim=1)
        best = [keys.topk(min(k, keys.shape[1]), sorted=False).values]
    return best[0]


def has_room(device: torch.device, size: int) -> bool:
    """Whether so many bytes fit in half of a GPU's free memory."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2
