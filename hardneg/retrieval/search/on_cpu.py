"""Exact search on a CPU. A score is a float32 inner product as the CPU's library computes it.

MKL's last bits depend on the shape of a product. So its products have fixed shapes: `query_batch` queries, with the
last batch zero-padded, and tiles of passages. oneDNN gives an inner product the same bits in products of all shapes,
but for a single row. There, batches are not padded, and a few scores can be computed again, so that a first pass may be
in bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

from hardneg.model.products import FEWEST, by_onednn, halves_by_onednn, product
from hardneg.retrieval.search import first_pass
from hardneg.retrieval.search.blocks import checked_rows, rows_of
from hardneg.retrieval.search.cells import lower_bound
from hardneg.retrieval.search.first_pass import Rounded
from hardneg.retrieval.search.heaps import Heaps
from hardneg.retrieval.search.keys import LOWEST, pack, scores_in, unpack
from hardneg.retrieval.search.sizes import COLUMNS, QUERY_BATCH, SCORED_AGAIN, TILE, TILES
from hardneg.retrieval.search.vectors import VectorStore

PAYS = 1024
"""Passages for each one that is scored again. With fewer, a first pass saves less time than scoring again takes."""

LEAST_DIM = 256
"""Fewest numbers in a vector with which a product in bf16 saves enough."""

LEAST_QUERIES = 1024
"""Fewest queries in a search for which it pays to round passages that are not kept."""

BOUNDED = 48
"""Passages for each query from which on it pays to look first for what the worst of them reaches at least."""

HEAPED = 20
"""Passages for each one that is looked for, with which it takes less time to keep the best in heaps than to sort."""


def pays(rows: int, dim: int, k: int) -> bool:
    """Whether a first pass over so many passages of this width saves more than scoring the candidates for k takes."""
    return dim >= LEAST_DIM and rows >= PAYS * first_pass.candidates(k)


class CpuShare:
    """A CPU's share of the passages: the blocks of `size` rows that begin at `starts`.

    Args:
        vectors: the passages.
        starts: the first rows of the blocks.
        size: rows in a block.
        resident: keep the passages.
        query_batch: queries in a product.
        forgets: nothing of a block stays in memory.
    """

    def __init__(
        self, vectors: VectorStore, starts: Sequence[int], size: int, resident: bool, query_batch: int, forgets: bool
    ) -> None:
        self.vectors, self.starts, self._size = vectors, starts, size
        self._forgets, self._query_batch = forgets, query_batch
        self._fixed = not by_onednn()
        # Allocated once: mapping fresh memory takes as long as the product that fills it.
        self._batch = torch.zeros(query_batch if self._fixed else 0, vectors.dim)
        self._scores = torch.empty(query_batch * size if self._fixed else 0)
        self._blocks = [self._read(start) for start in starts] if resident else None
        self._rounded: dict[int, Rounded] = {}
        self._tally = first_pass.Tally()

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages, in no particular order."""
        queries = queries.cpu()
        enough = len(queries) >= (1 if self._blocks else LEAST_QUERIES)
        if (
            enough
            and pays(len(self.starts) * self._size, self.vectors.dim, k)
            and halves_by_onednn()
            and not self._fixed
            and self._tally.worth_it()
        ):
            return self._two_passes(queries, k)
        return self._pass(queries, k, self._block)

    def _two_passes(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """What a pass in float32 finds, by one in bf16. Queries for which that proves nothing have both."""
        asked = first_pass.rounded_queries(queries, torch.bfloat16)
        norms, errors = [], []

        def rounded(number: int) -> torch.Tensor:
            block = self._round(number)
            norms.append(block.norm)
            errors.append(block.error)
            return block.rows

        positions, found = unpack(self._pass(asked.rows, first_pass.candidates(k), rounded))
        keys = pack(self._again(queries, positions), positions).topk(k).values
        worst = found.amin(dim=1).bfloat16()
        bound = first_pass.upper_bound(worst, asked, torch.stack(norms).max(), torch.stack(errors).max())
        unproved = (bound < scores_in(keys[:, -1])).logical_not()
        if unproved.any():
            keys[unproved] = self._pass(queries[unproved], k, self._block)
        self._tally.add(len(queries), int(unproved.sum()))
        if not self._tally.worth_it():
            self._rounded.clear()
        return keys

    def _pass(self, queries: torch.Tensor, k: int, block_of: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages by their products with what `block_of` gives."""
        rows = sum(self._rows(start) for start in self.starts)
        if rows < HEAPED * k:
            return self._sorted(queries, min(k, rows), block_of)
        batches = torch.split(queries, self._query_batch)
        best = [Heaps(len(batch), k) for batch in batches]
        for number, start in enumerate(self.starts):
            block = block_of(number)
            for batch, heaps in zip(batches, best, strict=True):
                tiles: Iterable[tuple[torch.Tensor, int]] = self._tiles(batch, block, start)
                if number == 0 and k >= BOUNDED and self._rows(start) >= 2 * k:
                    tiles = list(tiles)
                    heaps.leave_out(lower_bound([scores for scores, _ in tiles], k))
                for scores, first in tiles:
                    heaps.add(scores, first)
            if self._forgets:
                self.vectors.forget()
        keys = torch.cat([heaps.keys() for heaps in best])
        left = (keys == LOWEST).any(dim=1)  # some scores are not numbers, or infinite
        if left.any():
            keys[left] = self._sorted(queries[left], k, block_of)
        return keys

    def _sorted(self, queries: torch.Tensor, k: int, block_of: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """The same keys, by sorting those of all passages."""
        batches = torch.split(queries, self._query_batch)
        best = [torch.empty(len(batch), 0, dtype=torch.int64) for batch in batches]
        for number, start in enumerate(self.starts):
            block, positions = block_of(number), torch.arange(start, start + self._rows(start))
            for at, batch in enumerate(batches):
                scores = torch.cat([scores for scores, _ in self._tiles(batch, block, start)], dim=1)
                keys = torch.cat([best[at], pack(scores.float(), positions)], dim=1)
                best[at] = keys.topk(min(k, keys.shape[1]), sorted=False).values
            if self._forgets:
                self.vectors.forget()
        return torch.cat(best)

    def _rows(self, start: int) -> int:
        """Passages in the block that begins at `start`."""
        return min(self._size, self.vectors.rows - start)

    def _again(self, queries: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Scores float32 [n, k] of the queries with the passages at `positions` [n, k]. Each block is read once."""
        n, k = positions.shape
        at, scores = positions.flatten(), torch.empty(n * k)
        block = (at // self._size).int()
        order = block.argsort(stable=True)  # by block, then by query
        ends = torch.bincount(block).cumsum(0).tolist()
        for number, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            if first < last:
                these, start = order[first:last], number * self._size
                scores[these] = self._pairs(queries, these // k, self._unchecked(start), at[these] - start, k)
                if self._forgets:
                    self.vectors.forget()
        return scores.view(n, k)

    def _pairs(
        self, queries: torch.Tensor, query: torch.Tensor, rows: torch.Tensor, row: torch.Tensor, k: int
    ) -> torch.Tensor:
        """Scores float32 [pairs] of pairs of a query and a row of a block; a query has `k` pairs in all blocks."""
        together = max(FEWEST, SCORED_AGAIN * len(self.starts) // k)  # queries in one product
        # Where the candidates of many queries are in this block, there are several products of the same queries.
        part = query // together * len(query) + torch.arange(len(query)) // (4 * SCORED_AGAIN)
        sizes, scores = torch.unique_consecutive(part, return_counts=True)[1].tolist(), []
        for of, which in zip(torch.split(query, sizes), torch.split(row, sizes), strict=True):
            first = max(0, min(int(of[0]) // together * together, len(queries) - together))
            # oneDNN makes code for every shape, and keeps it: so there are few.
            padded = nn.functional.pad(which, (0, -len(which) % COLUMNS))
            products = self._product(queries[first : first + together], rows[padded])
            scores.append(products[of - first, torch.arange(len(of))])
        return torch.cat(scores)

    def _tiles(self, batch: torch.Tensor, block: torch.Tensor, start: int) -> Iterator[tuple[torch.Tensor, int]]:
        """Scores [n, columns] of the passages of a block, tile by tile, and the position of the first in each."""
        step = TILE if self._fixed else TILE * min(max(QUERY_BATCH // max(len(batch), 1), 1), TILES)
        for first in range(0, len(block), step):
            scores = self._product(batch, block[first : first + step], first)
            yield scores[:, : self._rows(start) - first], start + first

    def _product(self, queries: torch.Tensor, rows: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Scores [n, m] of at most `query_batch` queries and of rows that begin at `first` of their block.

        If shapes are fixed, those of other rows of the block keep their place.
        """
        n, m = len(queries), len(rows)
        if not self._fixed:
            return product(_several(queries), _several(rows), None)[:n, :m]
        self._batch[:n] = queries
        self._batch[n:] = 0
        size, place = len(self._batch) * m, len(self._batch) * first
        return product(self._batch, rows, self._scores[place : place + size].view(len(self._batch), m))[:n]

    def _block(self, number: int) -> torch.Tensor:
        return self._blocks[number] if self._blocks else self._read(self.starts[number])

    def _unchecked(self, start: int) -> torch.Tensor:
        if self._blocks:
            return self._blocks[self.starts.index(start)]
        return rows_of(self.vectors, start, self._size, COLUMNS)

    def _round(self, number: int) -> Rounded:
        """A block in bf16, which is kept if the block is."""
        if number in self._rounded:
            return self._rounded[number]
        rounded = first_pass.rounded_passages(self._block(number), torch.bfloat16)
        if self._blocks:
            self._rounded[number] = rounded
        return rounded

    def _read(self, start: int) -> torch.Tensor:
        return checked_rows(self.vectors, start, self._size, COLUMNS)


def _several(rows: torch.Tensor) -> torch.Tensor:
    """The rows, or one row twice, in memory of its own: a row that is only repeated counts as one."""
    return rows if len(rows) >= FEWEST else rows.repeat(FEWEST, 1)
