"""Searching vectors, and runs made elsewhere."""

from __future__ import annotations

import math

from hardneg.estimate.laws.base import Law, neural_of, over
from hardneg.estimate.laws.index import is_compressed
from hardneg.estimate.laws.sizes import RUN_ROW_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

HIT_BYTES = 28
CANDIDATE_BYTES = 40


class Run(Law):
    """Ranking the queries of some splits."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The hits held at once, 28 bytes each, or the candidates of a first pass, and what the search keeps there."""
        from hardneg.retrieval.search.first_pass import candidates
        from hardneg.retrieval.search.on_cpu import pays
        from hardneg.retrieval.search.sizes import HITS_AT_ONCE, QUERY_BATCH

        kept = min(stage.settings["depth"], sizes.counts.passages)
        hits = min(sizes.run_rows(stage), max(HITS_AT_ONCE, QUERY_BATCH * kept))
        index = stage.parents.get("index")
        searching, host = search_bytes(index, QUERY_BATCH, sizes, once=True)
        held = hits * HIT_BYTES
        if not is_compressed(index) and pays(sizes.counts.passages, sizes.dense.dim, kept):
            held = max(held, hits * candidates(kept) // kept * CANDIDATE_BYTES)
        return sizes.base_bytes + host + held + (0 if sizes.machine.gpus else searching)

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """The searching device's share of the vectors."""
        from hardneg.retrieval.search.sizes import QUERY_BATCH

        return sizes.on_gpu(search_bytes(stage.parents.get("index"), QUERY_BATCH, sizes)[0])

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most 16 bytes a row."""
        return sizes.run_rows(stage) * RUN_ROW_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Batches of queries x passages / rate / devices."""
        from hardneg.retrieval.search.sizes import QUERY_BATCH

        batches = math.ceil(sizes.queries_of(stage.settings) / QUERY_BATCH)
        pair = (QUERY_BATCH, stage.settings["depth"])
        return batches * search_seconds(stage.parents.get("index"), pair, sizes, measured)


class GivenRun(Law):
    """Reading a run that was made elsewhere."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The libraries alone."""
        return sizes.base_bytes

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most queries x depth x 16 bytes."""
        return self._rows(stage, sizes) * RUN_ROW_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Rows / rate, without parsing."""
        return over(self._rows(stage, sizes), measured.run_rows)

    def _rows(self, stage: Stage, sizes: Sizes) -> int:
        depth: int = stage.settings["depth"]
        return sizes.queries_of(stage.settings) * depth


def search_seconds(index: Stage | None, pair: tuple[int, int], sizes: Sizes, measured: Measured) -> float:
    """Seconds to search all passages with one batch of queries.

    Args:
        index: the index stage; None for the vectors themselves.
        pair: (queries in the batch, passages retrieved for each).
        sizes: of the collection and the machine.
        measured: the speeds.
    """
    rates = neural_of(measured).search
    devices = max(1, min(sizes.machine.gpus, sizes.config.runtime.gpus_per_search))
    if index is not None and (compressed := measured.compressed.get(index.settings["factory"])) is not None:
        rates, devices = compressed.search, 1
    return sizes.counts.passages / rates[pair] / devices


def search_bytes(index: Stage | None, batch: int, sizes: Sizes, once: bool = False) -> tuple[int, int]:
    """Bytes on the searching device, and further bytes on the host.

    On a CPU, indexes and float32 vectors are memory-mapped, so the system can reclaim their pages. Vectors in float16
    are copied to float32 only if the copy is small, and not `once`, for one large search. So are copies with 16 bits
    for a first pass. A GPU has these if half of what is left has room.
    """
    from hardneg.retrieval.search.on_cpu import pays
    from hardneg.retrieval.search.sizes import BLOCK, HOST_RESIDENT_BYTES, NUMBERS_AT_ONCE, gpu_block

    config, machine, dim = sizes.config, sizes.machine, sizes.dense.dim
    if is_compressed(index):
        return 0, 0
    block = gpu_block(sizes.counts.passages, batch) if machine.gpus else BLOCK
    working = 2 * block * dim * 4 + 2 * batch * block * 4
    resident = sizes.vectors("float32")
    if machine.gpus:
        share = resident // min(machine.gpus, config.runtime.gpus_per_search)
        working += 3 * NUMBERS_AT_ONCE * 8
        if share > machine.gpu_memory // 2:
            return working, block * dim * 4
        halved = share // 2 if share // 2 <= (machine.gpu_memory - share) // 2 else 0
        return working + share + halved, block * dim * 4
    if once or resident > HOST_RESIDENT_BYTES:
        return working, 0
    halved = resident // 2 if pays(sizes.counts.passages, dim, 1) else 0
    return working + halved + (resident if config.arithmetic.vectors != "float32" else 0), 0
