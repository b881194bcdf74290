"""Exact inner-product search, the same to the last bit however the work is spread.

The last bits of a matrix product depend on its shape: one query alone and the same query among a thousand get scores
that differ, and close passages change places. So every product here has a shape that neither the caller nor the
machine chooses: `query_batch` queries, the last batch filled up with zeros, against canonical blocks of `BLOCK`
passages, counted by position over all shards. A device takes whole blocks, and the order of results is total (score,
then position), so that it does not matter which device found what, or when.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search.vectors import VectorStore

QUERY_BATCH = 512
BLOCK = 16_384
# The last block is filled up with zeros to a multiple of this: with fewer columns than a tile of the matrix product
# MKL sums in another order, and equal passages would get unequal scores.
TILE = 64
ALIGNMENT = 64  # bytes; MKL promises to repeat itself only for matrices that are aligned alike
HOST_RESIDENT_BYTES = 2 << 30
LAST_POSITION = 2**32 - 1


class ExactSearcher:
    """The k passages with the highest inner product for each query; ties go to the lower position.

    Args:
        vectors: the passages, at most 2^32 rows.
        devices: where to search, all of one kind; each takes every n-th block.
        resident: keep the passages as float32 on the devices between calls. None does so where they fit (half of
            the GPU's free memory, 2 GiB of the host's), else blocks are read anew in each call, once for all
            its queries. Aligned float32 shards are mapped on the CPU and cost no memory either way.
        query_batch: queries in one matrix product. Scores may differ in the last bits between values: it belongs
            to a stage's settings. A training loop gives its own batch size.

    At its peak a device holds [query_batch, BLOCK] scores, and [queries, k] int64 of results.

    Raises:
        HardnegError: a passage vector is not finite (found when its block is read).
    """

    def __init__(
        self,
        vectors: VectorStore,
        devices: Sequence[torch.device] = (torch.device("cpu"),),
        resident: bool | None = None,
        query_batch: int = QUERY_BATCH,
    ) -> None:
        if len({device.type for device in devices}) != 1:
            raise ValueError(f"devices must be of one kind, or scores depend on which one finds a passage: {devices}")
        self.vectors = vectors
        starts = range(0, vectors.rows, BLOCK)
        self._shares = []
        for device, mine in ((device, starts[number :: len(devices)]) for number, device in enumerate(devices)):
            if mine:
                kept = _fits(vectors, device, len(mine)) if resident is None else resident
                self._shares.append(_Share(vectors, device, mine, kept, query_batch))

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Search all passages.

        Args:
            queries: [n, dim] float, on any device; no gradient flows through the search.
            k: how many passages a query gets, at least 1.

        Returns:
            positions [n, k'] int64 and scores [n, k'] float32, best first, on the queries' device; k' = min(k, rows).

        Raises:
            HardnegError: a query vector is not finite or has another width than the passages.
        """
        queries = checked_queries(queries, self.vectors.dim)
        with _full_float32():
            if len(self._shares) > 1 and self._shares[0].device.type == "cuda":
                with ThreadPoolExecutor(len(self._shares)) as pool:
                    found = list(pool.map(lambda share: share.search(queries, k), self._shares))
            else:
                found = [share.search(queries, k) for share in self._shares]
        merged = torch.cat([keys.to(queries.device) for keys in found], dim=1)
        return _unpack(merged.topk(min(k, self.vectors.rows)).values)


class _Share:
    """One device's part of the passages: the blocks that begin at `starts`."""

    def __init__(
        self, vectors: VectorStore, device: torch.device, starts: Sequence[int], resident: bool, query_batch: int
    ) -> None:
        self.vectors, self.device, self.starts = vectors, device, starts
        # Used again and again: mapping fresh memory takes as long as the product that fills it.
        self._batch = torch.zeros(query_batch, vectors.dim, device=device)
        self._scores = torch.empty(query_batch * BLOCK, device=device)
        self._resident = [self._read(start) for start in starts] if resident else None

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages, in no particular order."""
        queries = queries.to(self.device)
        batches = torch.split(queries, len(self._batch))
        best: list[torch.Tensor | None] = [None] * len(batches)
        for number, start in enumerate(self.starts):
            block = self._resident[number] if self._resident else self._read(start)
            for at, batch in enumerate(batches):
                keys = self._search_block(batch, block, start, k)
                if (before := best[at]) is not None:
                    keys = torch.cat([before, keys], dim=1)
                    keys = keys.topk(min(k, keys.shape[1]), sorted=False).values
                best[at] = keys
        return torch.cat([keys for keys in best if keys is not None])

    def _search_block(self, batch: torch.Tensor, block: torch.Tensor, start: int, k: int) -> torch.Tensor:
        """Keys [queries of the batch, min(k, rows of the block)] of the block's best passages."""
        self._batch[: len(batch)] = batch
        self._batch[len(batch) :] = 0
        product = self._scores[: len(self._batch) * len(block)].view(len(self._batch), len(block))
        torch.mm(self._batch, block.T, out=product)  # with `out`, autocast leaves the product in float32
        scores = product[: len(batch), : min(BLOCK, self.vectors.rows - start)]
        # torch.topk is fast and keeps whichever of equal scores it likes. One score more than was asked for tells
        # where that choice mattered; those queries, seldom any, are done again by score and position.
        top = scores.topk(min(k + 1, scores.shape[1]))
        keys = _pack(top.values[:, :k], start + top.indices[:, :k])
        if top.values.shape[1] > k and (tied := top.values[:, k - 1] == top.values[:, k]).any():
            positions = torch.arange(start, start + scores.shape[1], device=self.device)
            keys[tied] = _pack(scores[tied], positions).topk(k, sorted=False).values
        return keys

    def _read(self, start: int) -> torch.Tensor:
        """The block that begins at row `start`, float32 on this device, filled up to a multiple of `TILE` rows."""
        stop = min(start + BLOCK, self.vectors.rows)
        mapped = self.vectors.mapped(start, stop) if self.device.type == "cpu" else None
        if mapped is not None and len(mapped) % TILE == 0 and mapped.ctypes.data % ALIGNMENT == 0:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                block = torch.from_numpy(mapped)
        else:
            block = torch.zeros(-(-(stop - start) // TILE) * TILE, self.vectors.dim)
            block[: stop - start] = torch.from_numpy(self.vectors.block(start, stop))
        require_finite(block, "passage", start)
        return block.to(self.device)


def checked_queries(queries: torch.Tensor, dim: int) -> torch.Tensor:
    """The queries detached and as float32.

    Raises:
        HardnegError: they are not [n, dim], or not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise HardnegError(
            "Query vectors do not have the width of the passage vectors.",
            found=f"shape {list(queries.shape)}",
            expected=f"[queries, {dim}]",
            remedy="encode queries and passages with encoders of the same output width.",
        )
    queries = queries.detach().float()
    require_finite(queries, "query", 0)
    return queries


def require_finite(rows: torch.Tensor, what: str, first: int) -> None:
    """Refuse vectors with NaN or infinity in them; `first` is the position of the first of `rows` [n, dim].

    Raises:
        HardnegError: naming the first such vector.
    """
    finite = rows.isfinite()
    if not finite.all():
        row = int(finite.all(dim=1).logical_not().nonzero()[0])
        raise HardnegError(
            f"A {what} vector is not finite: the encoder diverged.",
            found=f"{float(rows[row][~finite[row]][0])} in the vector at {what} position {first + row}",
            remedy="train the encoder again with a lower learning rate or in full precision, then encode again.",
        )


def _fits(vectors: VectorStore, device: torch.device, blocks: int) -> bool:
    if device.type == "cuda":
        return blocks * BLOCK * vectors.dim * 4 <= torch.cuda.mem_get_info(device)[0] // 2
    return vectors.rows * vectors.dim * 4 <= HOST_RESIDENT_BYTES


def _pack(scores: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One int64 for a score and a position, greater for the better result: higher score, then lower position.

    The bits of a float32, read as an integer, are ordered as the floats are, once the lower 31 bits of the negative
    ones are turned over. Adding 0.0 makes -0.0 equal to 0.0.
    """
    bits = (scores + 0.0).view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * 2**32 + (LAST_POSITION - positions)


def _unpack(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions int64 and scores float32 of keys made by `_pack`."""
    bits = (keys >> 32).int()
    scores = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return LAST_POSITION - (keys & LAST_POSITION), scores


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """No TF32 (GPU) and no bfloat16 (CPU) inside float32 products, whichever of torch's two switches allowed them."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    switches = [backend.fp32_precision for backend in backends]
    overall = "highest"
    with contextlib.suppress(RuntimeError):  # raised where the newer switches were used: those are restored below
        overall = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(overall)
        for backend, switch in zip(backends, switches, strict=True):
            backend.fp32_precision = switch
