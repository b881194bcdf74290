"""Exact search on a GPU: a first pass in float16, and scores that depend on nothing but the two vectors.

A GPU's library chooses a kernel by the shape of a product, and with it the last bits. So products only choose which
passages are scored. The score is `by_torch.inner_products`. Where Triton can compile for the GPU, `by_triton` takes the
place of torch; it finds the same.
"""

from __future__ import annotations

import functools
import subprocess
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType

import torch

from hardneg.retrieval.search import by_torch, first_pass
from hardneg.retrieval.search.blocks import checked_rows, require_finite
from hardneg.retrieval.search.first_pass import Rounded
from hardneg.retrieval.search.keys import scores_in
from hardneg.retrieval.search.sizes import COLUMNS
from hardneg.retrieval.search.vectors import VectorStore

MORE = 8  # times as many candidates, where they proved nothing
REPLAYED = 64
"""Queries at most for which a GPU works less long than Python takes to start its kernels."""

SHARED = 160 << 10
"""Bytes of a multiprocessor's own memory that the kernels take at most. A100, H100 and their successors have more."""


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
        self._by = kernels_for(device)
        self._tally = first_pass.Tally()
        self._shape: tuple[int, int] | None = None
        self._replay: Replay | None = None
        self._rounded: dict[tuple[int, torch.dtype], Rounded] = {}

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        """Keys [n, min(k, rows of this share)] of the best passages, best first.

        Queries for which a pass proves nothing have another, in float32, with more candidates. After that every passage
        is scored, which takes long; it is for queries whose k-th passage has hundreds of equals.

        Raises:
            HardnegError: a query is not finite.
        """
        queries, count = queries.to(self.device).contiguous(), first_pass.candidates(k)
        with torch.autocast(self.device.type, enabled=False):
            if self._halves:
                keys, proved = self._first(queries, k, count)
                left = _unproved(proved)
                self._count(len(queries), len(left))
            else:
                keys, proved = self._pass(queries, k, torch.float32, count)
                left = _unproved(proved)
            if len(left) > 0:
                require_finite(queries, "query", 0)  # of what is not a number, nothing is proved
            for kind, wide in ((torch.float32, MORE * count), (None, 0)):
                if len(left) == 0:
                    break
                keys[left], proved = self._pass(queries[left], k, kind, wide)
                left = left[_unproved(proved)]
        return keys

    def _count(self, asked: int, unproved: int) -> None:
        """Do without a pass in float16 from now on, if it proves too little."""
        self._tally.add(asked, unproved)
        if not self._tally.worth_it():
            self._halves, self._replay = False, None
            self._rounded.clear()

    def _first(self, queries: torch.Tensor, k: int, wide: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`_pass` in float16. Of few queries it is recorded once, if searches of as many follow each other."""
        shape, before = (len(queries), k), self._shape
        self._shape = shape
        stays = self.device.type == "cuda" and self._blocks is not None
        enough = self._rows(self.starts[0]) > wide * self._by.CELL  # else all are scored, and looked at on the way
        if not stays or not enough or not 0 < len(queries) <= REPLAYED or shape != before:
            return self._pass(queries, k, torch.float16, wide)
        if self._replay is None or self._replay.shape != shape:
            self._replay = None  # lets go of its memory
            self._replay = Replay(lambda these: self._pass(these, k, torch.float16, wide), queries, shape)
        return self._replay(queries)

    def _pass(
        self, queries: torch.Tensor, k: int, kind: torch.dtype | None, wide: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best keys [n, at most k], best first, and for which queries, bool [n], no other passage is as good.

        Args:
            queries: float32 [n, dim].
            k: passages for each.
            kind: of the numbers that choose what is scored. None: everything is.
            wide: how many passages of a block are chosen, or cells of them.
        """
        by = self._by if kind == torch.float16 and len(queries) > 0 else by_torch
        batches = torch.split(queries, self._query_batch)
        asked = [first_pass.narrowed(batch, kind or torch.float32) for batch in batches]
        best: list[torch.Tensor | None] = [None] * len(batches)
        worst: list[list[torch.Tensor]] = [[] for _ in batches]
        blocks = []
        for number, start in enumerate(self.starts):
            rows = self._blocks[number] if self._blocks else self._read(start)
            count = self._rows(start)
            passages = None if kind is None or count <= wide * by.CELL else self._round(number, rows, kind)
            for at, batch in enumerate(batches):
                if passages is None:
                    keys = by_torch.every(batch, rows[:count], start, k)
                else:
                    least, numbers = by.chosen(asked[at][0], passages.rows, count, wide)
                    worst[at].append(least)
                    keys = by.keys(batch, rows, numbers, count, start)
                before = best[at]
                keys = keys if before is None else torch.cat([before, keys], dim=1)
                best[at] = keys.topk(min(k, keys.shape[1]), sorted=False).values
            if passages is not None:
                blocks.append(torch.stack(passages[1:]))
            del rows, passages  # before the next block is read
        found = torch.cat([keys for keys in best if keys is not None]).sort(dim=1, descending=True).values
        if not blocks:
            require_finite(queries, "query", 0)
            return found, torch.ones(len(queries), dtype=torch.bool, device=self.device)
        norm, error, scale = torch.stack(blocks)[..., None].unbind(1)
        bounds = [
            first_pass.upper_bound(torch.stack(least), first_pass.measured(batch, *narrow), norm, error, scale)
            for batch, narrow, least in zip(batches, asked, worst, strict=True)
        ]
        return found, torch.cat(bounds, dim=1).amax(dim=0) < scores_in(found[:, -1])

    def _rows(self, start: int) -> int:
        """Passages in the block that begins at `start`."""
        return min(self._size, self.vectors.rows - start)

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


_recording = threading.Lock()  # torch records one graph at a time, and a thread searches on each GPU


class Replay:
    """A function of queries as a CUDA graph, which a GPU runs without being told each of its kernels.

    What it gave before is overwritten by a call, but for the first tensor.

    Args:
        run: from queries to two tensors; it does the same with any queries, and waits for nothing.
        queries: such as it is to be called with, [n, dim].
        shape: what the graph is for.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        queries: torch.Tensor,
        shape: tuple[int, int],
    ) -> None:
        self.shape = shape
        self._queries, self._graph = queries.clone(), torch.cuda.CUDAGraph()
        with _recording, torch.cuda.device(queries.device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._made = run(self._queries)

    def __call__(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `run` gives for these queries."""
        self._queries.copy_(queries)
        self._graph.replay()
        keys, proved = self._made
        return keys.clone(), proved


def _unproved(proved: torch.Tensor) -> torch.Tensor:
    """The numbers of queries for which nothing is proved, int64."""
    if proved.all():  # as nearly always
        return torch.empty(0, dtype=torch.int64, device=proved.device)
    return proved.logical_not().nonzero().squeeze(1)


def has_room(device: torch.device, size: int) -> bool:
    """Whether so many bytes fit in half of a GPU's free memory."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


@functools.cache
def kernels_for(device: torch.device) -> ModuleType:
    """`by_triton`, where Triton can compile for a GPU: it needs a C compiler and Python's headers. Else `by_torch`."""
    if device.type != "cuda" or torch.version.hip or find_spec("triton") is None:
        return by_torch
    if torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor < SHARED:
        return by_torch
    rows = torch.ones(2, 1, device=device)
    try:
        from hardneg.retrieval.search import by_triton

        by_triton.keys(rows, rows, torch.zeros(len(rows), 1, dtype=torch.int64, device=device), len(rows), 0)
    except (subprocess.CalledProcessError, RuntimeError, OSError, ImportError) as fault:
        print(f"Triton cannot compile here, so that exact search takes torch's kernels: {fault}", flush=True)
        return by_torch
    return by_triton
