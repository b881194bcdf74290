"""Exact inner-product search whose results do not depend on how the work is divided, to the last bit.

The last bits of a matrix product depend on its shape: a query alone and the same query among a thousand get slightly
different scores, and close passages swap ranks. So all products here have fixed shapes: `query_batch` queries, with
the last batch zero-padded, against blocks of `BLOCK` passages (of `gpu_block` on a GPU), counted by position over all
shards. Each device takes whole blocks. Results have a total order (score, then position), so it does not matter which
device found what.

oneDNN gives an inner product the same bits in products of all shapes, but for a single row. There, batches are not
padded, and a few scores can be computed again, so that a first pass may be in bf16: see `halves`.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from hardneg.errors import HardnegError
from hardneg.model.products import FEWEST, by_onednn, product
from hardneg.retrieval.search import halves
from hardneg.retrieval.search.keys import by_row, higher, pack, unpack
from hardneg.retrieval.search.sizes import (
    BLOCK,
    COLUMNS,
    HOST_RESIDENT_BYTES,
    QUERY_BATCH,
    SCORED_AGAIN,
    TILE,
    TILES,
    gpu_block,
)
from hardneg.retrieval.search.vectors import VectorStore

ALIGNMENT = 64  # bytes; MKL guarantees equal results only for equal alignment


@dataclass(frozen=True)
class Part:
    """What of the passages a searcher reads itself.

    Attributes:
        number: which part, from 0.
        count: of how many; every `count`-th block is of one part.
        join: from the best keys of this part, int64 [n, any width], and k to those of all parts.
    """

    number: int
    count: int
    join: Callable[[torch.Tensor, int], torch.Tensor]


WHOLE = Part(0, 1, lambda keys, k: keys)


class ExactSearcher:
    """Finds the k passages with the highest inner product for each query; ties go to the lower position.

    Args:
        vectors: the passages, at most 2^32 rows.
        devices: where to search, all CPU or all CUDA; each takes every n-th block.
        resident: keep the passages as float32 on the devices between calls. False reads the blocks again in each
            call, once for all its queries, and keeps nothing of a block in memory. None keeps them if they fit in half
            of the GPU's free memory, or in 2 GiB of host memory. On the CPU, aligned float32 shards are mapped: then
            the system may take back what is kept.
        query_batch: queries in one matrix product. It can change the last bits of scores, so it is part of a stage's
            settings. A training loop passes its own batch size.
        part: the passages to read; other processes read the others, and all of them search together.

    At its peak a device holds twice the float32 scores of a batch against a block, and [queries, k] int64 results.

    Raises:
        HardnegError: a passage vector is not finite (raised when its block is read).
        ValueError: the devices are of different kinds.
    """

    def __init__(
        self,
        vectors: VectorStore,
        devices: Sequence[torch.device] = (torch.device("cpu"),),
        resident: bool | None = None,
        query_batch: int = QUERY_BATCH,
        part: Part = WHOLE,
    ) -> None:
        if len({device.type for device in devices}) != 1:
            raise ValueError(
                f"devices must be of one kind, or scores depend on the device that computes them: {devices}"
            )
        self.vectors, self._join = vectors, part.join
        block = BLOCK if devices[0].type == "cpu" else gpu_block(vectors.rows, query_batch)
        starts = range(0, vectors.rows, block)[part.number :: part.count]
        self._shares = []
        for device, mine in ((device, starts[number :: len(devices)]) for number, device in enumerate(devices)):
            if mine:
                kept = _fits(vectors, device, len(mine) * block) if resident is None else resident
                self._shares.append(_Share(vectors, device, mine, block, kept, query_batch, forgets=resident is False))

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Search all passages.

        Args:
            queries: [n, dim] float, on any device; no gradient flows through the search.
            k: passages for each query, at least 1.

        Returns:
            positions [n, k'] int64 and scores [n, k'] float32, best first, on the queries' device; k' = min(k, rows).

        Raises:
            HardnegError: a query vector is not finite, or its width differs from the passages'.
        """
        queries = checked_queries(queries, self.vectors.dim)
        with _full_float32():
            if len(self._shares) > 1 and self._shares[0].device.type == "cuda":
                with ThreadPoolExecutor(len(self._shares)) as pool:
                    found = list(pool.map(lambda share: share.search(queries, k), self._shares))
            else:
                found = [share.search(queries, k) for share in self._shares]
        none = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
        merged = self._join(torch.cat([none, *(keys.to(queries.device) for keys in found)], dim=1), k)
        return unpack(merged.topk(min(k, self.vectors.rows)).values)


class _Share:
    """One device's share of the passages: the blocks that begin at `starts`."""

    def __init__(
        self,
        vectors: VectorStore,
        device: torch.device,
        starts: Sequence[int],
        block: int,
        resident: bool,
        query_batch: int,
        forgets: bool,
    ) -> None:
        self.vectors, self.device, self.starts, self._block = vectors, device, starts, block
        self._forgets, self._query_batch = forgets, query_batch
        self._fixed = device.type != "cpu" or query_batch < FEWEST or not by_onednn()
        # Allocated once: mapping fresh memory takes as long as the product that fills it.
        self._batch = torch.zeros(query_batch if self._fixed else FEWEST, vectors.dim, device=device)
        self._scores = torch.empty(query_batch * block if self._fixed else 0, device=device)
        self._tile = TILE if device.type == "cpu" else block
        self._resident = [self._read(start) for start in starts] if resident else None
        self._halves: dict[int, halves.Half] = {}

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages, in no particular order."""
        queries = queries.to(self.device)
        rows, kept = len(self.starts) * self._block, self._resident is not None
        if self._fixed or not halves.pay(rows, k, len(queries), kept):
            return self._pass(queries, k, self._whole)
        return self._two_passes(queries, k)

    def _two_passes(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """What a pass in float32 finds, by one in bf16; queries for which that is not proved have both."""
        norm = error = 0.0

        def rounded(number: int) -> torch.Tensor:
            nonlocal norm, error
            half = self._half(number)
            norm, error = max(norm, half.norm), max(error, half.error)
            return half.rows

        positions, found = unpack(self._pass(queries.bfloat16(), halves.candidates(k), rounded))
        keys = pack(self._again(queries, positions), positions).topk(k).values
        missed = halves.most(found.amin(dim=1), queries, norm, error)
        proved = missed < unpack(keys[:, -1])[1]
        if not proved.all():
            keys[~proved] = self._pass(queries[~proved], k, self._whole).sort(descending=True).values
        return keys

    def _pass(self, queries: torch.Tensor, k: int, rows_of: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages by their products with rows as `rows_of` a block.

        Passages of equal scores are found in the order of their positions, but not where the products are bf16.
        """
        batches = torch.split(queries, self._query_batch)
        best: list[torch.Tensor | None] = [None] * len(batches)
        for number, start in enumerate(self.starts):
            block = rows_of(number)
            for at, batch in enumerate(batches):
                best[at] = self._better(best[at], batch, block, start, k)
            if self._forgets:
                self.vectors.forget()
        return torch.cat([keys for keys in best if keys is not None])

    def _again(self, queries: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Scores float32 [n, k] of the queries with the passages at `positions` [n, k]. Each block is read once."""
        n, k = positions.shape
        together = max(FEWEST, SCORED_AGAIN * len(self.starts) // k)  # queries in one product
        at, query = positions.flatten(), torch.arange(n).repeat_interleave(k)
        block = at // self._block
        order = (block * n + query).argsort()  # by block, then by query
        at, query, block = at[order], query[order], block[order]
        _, sizes = torch.unique_consecutive(block * n + query // together, return_counts=True)
        scores, read, first = torch.empty(n * k), -1, 0
        for size in sizes.tolist():
            these, first = slice(first, first + size), first + size
            if block[these][0] != read:
                read = int(block[these][0])
                rows = self._rows(read * self._block)
            asked = int(query[these][0]) // together * together
            products = self._product(queries[asked : asked + together], rows[at[these] - read * self._block])
            scores[order[these]] = products[query[these] - asked, torch.arange(size)]
        return scores.view(n, k)

    def _better(
        self, before: torch.Tensor | None, batch: torch.Tensor, block: torch.Tensor, start: int, k: int
    ) -> torch.Tensor:
        """Keys [n, at most k] of the best of `before` and of a block, for a batch of n queries.

        Blocks come in the order of positions, so a passage that only equals the worst of k before it loses to that one.
        Looking for the few that beat it takes one pass over the scores, and a top-k several. A GPU has few blocks, and
        would have to wait for the number of those few: there it is always a top-k.
        """
        least, tiles, found, count = None, [], [], 0
        if before is not None and before.shape[1] == k and self.device.type == "cpu":
            least = unpack(before.min(dim=1, keepdim=True).values)[1]
        step = self._tile if self._fixed else self._tile * min(max(QUERY_BATCH // max(len(batch), 1), 1), TILES)
        for first in range(0, len(block), step):
            tile = self._product(batch, block[first : first + step], first)
            tile = tile[:, : self.vectors.rows - start - first]
            tiles.append(tile)
            if least is not None:
                found.append(higher(tile, least, start + first))
                count += len(found[-1][0])
                least = least if count <= len(batch) * k else None  # so many that a top-k is as fast
        keys = None if least is None else by_row(found, len(batch), k)
        if keys is None:
            keys = self._best(tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=1), start, k)
        if before is None:
            return keys
        keys = torch.cat([before, keys], dim=1)
        return keys.topk(min(k, keys.shape[1]), sorted=False).values

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

    def _best(self, scores: torch.Tensor, start: int, k: int) -> torch.Tensor:
        """Keys [queries, min(k, rows of the block)] of the block's best passages."""
        # torch.topk is fast, but picks arbitrarily among equal scores. One score beyond k shows whether the k-th is
        # tied; those few queries are ranked again by score and position.
        rough = scores.dtype == torch.bfloat16  # often tied, and which of those are found does not matter
        top = scores.float().topk(min(k + (not rough), scores.shape[1]))
        keys = pack(top.values[:, :k], start + top.indices[:, :k])
        if top.values.shape[1] > k and (tied := top.values[:, k - 1] == top.values[:, k]).any():
            positions = torch.arange(start, start + scores.shape[1], device=self.device)
            keys[tied] = pack(scores[tied], positions).topk(k, sorted=False).values
        return keys

    def _whole(self, number: int) -> torch.Tensor:
        return self._resident[number] if self._resident else self._read(self.starts[number])

    def _half(self, number: int) -> halves.Half:
        """A block in bf16, which is kept if the block is."""
        if number in self._halves:
            return self._halves[number]
        rounded = halves.half(self._whole(number))
        if self._resident:
            self._halves[number] = rounded
        return rounded

    def _read(self, start: int) -> torch.Tensor:
        """The block that begins at row `start`, float32 on this device.

        It is zero-padded: on a CPU to a multiple of `COLUMNS` rows, on a GPU to the size of the others.
        """
        block = self._rows(start)
        require_finite(block, "passage", start)
        return block.to(self.device)

    def _rows(self, start: int) -> torch.Tensor:
        """The same block on the CPU, of which nothing is read that is not used if it is mapped."""
        stop = min(start + self._block, self.vectors.rows)
        mapped = self.vectors.mapped(start, stop) if self.device.type == "cpu" else None
        if mapped is not None and len(mapped) % COLUMNS == 0 and mapped.ctypes.data % ALIGNMENT == 0:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                return torch.from_numpy(mapped)
        multiple = COLUMNS if self.device.type == "cpu" else self._block
        block = torch.zeros(-(-(stop - start) // multiple) * multiple, self.vectors.dim)
        block[: stop - start] = torch.from_numpy(self.vectors.block(start, stop))
        return block


def _several(rows: torch.Tensor) -> torch.Tensor:
    """The rows, or one row twice, in memory of its own: a row that is only repeated counts as one."""
    return rows if len(rows) >= FEWEST else rows.repeat(FEWEST, 1)


def checked_queries(queries: torch.Tensor, dim: int) -> torch.Tensor:
    """The queries as float32 [n, dim], detached.

    Raises:
        HardnegError: they are not [n, dim], or not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise HardnegError(
            "Query vectors and passage vectors differ in width.",
            found=f"shape {list(queries.shape)}",
            expected=f"[queries, {dim}]",
            remedy="encode queries and passages with encoders of the same output width.",
        )
    queries = queries.detach().float()
    require_finite(queries, "query", 0)
    return queries


def require_finite(rows: torch.Tensor, what: str, first: int) -> None:
    """Refuse vectors that contain NaN or infinity.

    Args:
        rows: [n, dim] float.
        what: "query" or "passage", for the message.
        first: position of the first row, for the message.

    Raises:
        HardnegError: a vector is not finite; names the first one.
    """
    if math.isfinite(torch.linalg.vector_norm(rows)):  # one pass over them
        return
    finite = rows.isfinite()
    if not finite.all():  # else squares have overflowed
        row = int(finite.all(dim=1).logical_not().nonzero()[0])
        raise HardnegError(
            f"A {what} vector is not finite: the encoder diverged.",
            found=f"{float(rows[row][~finite[row]][0])} in the vector at {what} position {first + row}",
            remedy="train the encoder again with a lower learning rate or in full precision, then encode again.",
        )


def _fits(vectors: VectorStore, device: torch.device, rows: int) -> bool:
    if device.type == "cuda":
        return rows * vectors.dim * 4 <= torch.cuda.mem_get_info(device)[0] // 2
    return vectors.rows * vectors.dim * 4 <= HOST_RESIDENT_BYTES


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Turn off TF32 (GPU) and bfloat16 (CPU) in float32 products, whichever of torch's two switches allowed them."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    switches = [backend.fp32_precision for backend in backends]
    overall = "highest"
    with contextlib.suppress(RuntimeError):  # raised if the newer switches were used, which are restored below
        overall = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(overall)
        for backend, switch in zip(backends, switches, strict=True):
            backend.fp32_precision = switch
