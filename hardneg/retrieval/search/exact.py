"""Exact inner-product search whose results do not depend on how the work is divided, to the last bit.

The last bits of a matrix product depend on its shape: a query alone and the same query among a thousand get slightly
different scores, and close passages swap ranks. `on_cpu` and `on_gpu` explain how they keep scores identical
nevertheless. Blocks of `BLOCK` passages (of `gpu_block` on a GPU) are counted by position over all shards, and each
device takes whole blocks. Results have a total order (score, then position), so it does not matter which device found
what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search.blocks import require_finite
from hardneg.retrieval.search.keys import unpack
from hardneg.retrieval.search.on_cpu import CpuShare
from hardneg.retrieval.search.on_gpu import GpuShare, has_room
from hardneg.retrieval.search.sizes import BLOCK, HOST_RESIDENT_BYTES, QUERY_BATCH, gpu_block
from hardneg.retrieval.search.vectors import VectorStore


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
        query_batch: queries in one matrix product. With MKL it can change the last bits of scores, so it is part of a
            stage's settings. A training loop passes its own batch size.
        part: the passages to read; other processes read the others, and all of them search together.

    At its peak a device holds twice the float32 scores of a batch against a block, 32 bytes for each of the results
    [queries, k], and the passages that it keeps: in float32, and with 16 bits if a first pass uses these.

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
        on_cpu = devices[0].type == "cpu"
        block = BLOCK if on_cpu else gpu_block(vectors.rows, query_batch)
        starts = range(0, vectors.rows, block)[part.number :: part.count]
        self._shares: list[CpuShare | GpuShare] = []
        for device, mine in ((device, starts[number :: len(devices)]) for number, device in enumerate(devices)):
            if not mine:
                continue
            kept = _fits(vectors, device, len(mine) * block) if resident is None else resident
            if on_cpu:
                forgets = resident is False
                self._shares.append(CpuShare(vectors, mine, block, kept, query_batch, forgets))
            else:
                self._shares.append(GpuShare(vectors, device, mine, block, kept, query_batch))
        self._at_once = 1 if on_cpu else max(1, len(self._shares))
        alone = part.count == 1 and len(self._shares) == 1
        self._only = self._shares[0] if alone and isinstance(self._shares[0], GpuShare) else None

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
        queries = _of_width(queries, self.vectors.dim)
        if self._only is not None:
            with _full_float32():
                return unpack(self._only.search(queries, k).to(queries.device))
        require_finite(queries, "query", 0)
        with _full_float32():
            if self._at_once > 1:
                with ThreadPoolExecutor(self._at_once) as pool:
                    found = list(pool.map(lambda share: share.search(queries, k), self._shares))
            else:
                found = [share.search(queries, k) for share in self._shares]
        none = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
        merged = self._join(torch.cat([none, *(keys.to(queries.device) for keys in found)], dim=1), k)
        return unpack(merged.topk(min(k, self.vectors.rows)).values)


def checked_queries(queries: torch.Tensor, dim: int) -> torch.Tensor:
    """The queries as float32 [n, dim], detached.

    Raises:
        HardnegError: they are not [n, dim], or not finite.
    """
    queries = _of_width(queries, dim)
    require_finite(queries, "query", 0)
    return queries


def _of_width(queries: torch.Tensor, dim: int) -> torch.Tensor:
    """The queries as float32, detached, which must be [n, dim]."""
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise HardnegError(
            "Query vectors and passage vectors differ in width.",
            found=f"shape {list(queries.shape)}",
            expected=f"[queries, {dim}]",
            remedy="encode queries and passages with encoders of the same output width.",
        )
    return queries.detach().float()


def _fits(vectors: VectorStore, device: torch.device, rows: int) -> bool:
    if device.type == "cuda":
        return has_room(device, rows * vectors.dim * 4)
    return vectors.rows * vectors.dim * 4 <= HOST_RESIDENT_BYTES


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Turn off TF32 (GPU) and bfloat16 (CPU) in float32 products, whichever of torch's two switches allowed them.

    Products of float16 are added up in float32.
    """
    cuda: Any = torch.backends.cuda.matmul
    backends = (cuda, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    reduction = cuda.allow_fp16_reduced_precision_reduction, cuda.allow_fp16_reduced_precision_reduction_split_k
    accumulation = cuda.allow_fp16_accumulation
    cuda.allow_fp16_reduced_precision_reduction = cuda.allow_fp16_accumulation = False
    switches = [backend.fp32_precision for backend in backends]
    overall = "highest"
    with contextlib.suppress(RuntimeError):  # raised if the newer switches were used, which are restored below
        overall = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cuda.allow_fp16_reduced_precision_reduction, cuda.allow_fp16_accumulation = reduction, accumulation
        torch.set_float32_matmul_precision(overall)
        for backend, switch in zip(backends, switches, strict=True):
            backend.fp32_precision = switch
