"""Speeds of a slow machine, for time limits of jobs before anything was measured.

They are meant to be too low: a limit that is too long costs a place in a queue, one that is too short the job.
"""

from __future__ import annotations

from collections.abc import Mapping

from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.speeds.measured import Bm25, Compressed, Measured, Neural, TextCost
from hardneg.estimate.widths import padded_width

CPU_FLOPS = 10e9
"""Floating-point operations per second and thread."""

GPU_FLOPS = 10e12
"""Of one GPU."""

MEMORY_BYTES, GPU_MEMORY_BYTES = 4e9, 50e9
"""Read per second. A GPU reads vectors faster than this, and slower where they do not fit in its memory."""

DISK_BYTES = 50e6
CHARACTERS = 0.5e6
"""Prepared, tokenised or indexed per second."""

ROWS = 100_000
"""Of a run per second."""


class _Train(dict[tuple[int, bool], TextCost]):
    """Forward and backward of a text of some width: three forwards, four with gradient checkpointing."""

    def __init__(self, seconds_per_token: float) -> None:
        self._seconds = seconds_per_token

    def __missing__(self, key: tuple[int, bool]) -> TextCost:
        width, checkpointed = key
        return TextCost((4 if checkpointed else 3) * width * self._seconds, 0)


class _Search(dict[tuple[int, int], float]):
    """Passages per second for a batch of queries: what arithmetic or memory allows."""

    def __init__(self, dim: int, flops: float, read: float) -> None:
        self._dim, self._flops, self._read = dim, flops, read

    def __missing__(self, key: tuple[int, int]) -> float:
        return min(self._flops / (2 * self._dim * key[0]), self._read / (4 * self._dim))


class _Compressed(dict[str, Compressed]):
    """Any index: as slow as an exact search, and trained at a hundredth of its speed."""

    def __init__(self, search: _Search) -> None:
        self._search = search

    def get(self, factory: str, default: object = None) -> Compressed:
        rate = self._search[1, 1]
        return Compressed(train=rate / 100, add=rate / 100, search=self._search)


def assumed(sizes: Sizes, shape: Mapping[str, int]) -> Measured:
    """The speeds for an encoder of some shape.

    Args:
        sizes: of the collection, the configuration and the encoder.
        shape: `hidden`, `layers` and `feed_forward` of a Transformer.
    """
    from hardneg.retrieval.search.sizes import QUERY_BATCH

    config, hidden = sizes.config, shape["hidden"]
    on_cpu = config.runtime.device == "cpu" or config.encoder.backbone == "builtin:tiny"
    encoding = CPU_FLOPS * config.arithmetic.encoding_threads if on_cpu else GPU_FLOPS
    training = CPU_FLOPS * config.arithmetic.training_threads if on_cpu else GPU_FLOPS
    flops = 2 * shape["layers"] * (4 * hidden * hidden + 2 * hidden * shape["feed_forward"])  # a token, forward
    lengths, dense = sizes.counts.lengths, sizes.dense
    search = _Search(dense.dim, encoding, MEMORY_BYTES if on_cpu else GPU_MEMORY_BYTES)
    search[QUERY_BATCH, 1] = search[QUERY_BATCH, 1]  # some laws ask which batches there are
    passage, query = padded_width(lengths.passage_tokens), padded_width(lengths.query_tokens)
    neural = Neural(
        model="assumed",
        parameters=dense.parameters,
        dim=dense.dim,
        encode_passages=encoding / (flops * passage),
        encode_queries=encoding / (flops * query),
        train=_Train(flops / training),
        optimizer=40 * dense.parameters / MEMORY_BYTES,  # weights, gradients and moments are read and written
        search=search,
    )
    return Measured(
        base_bytes=sizes.base_bytes,
        disk_write=DISK_BYTES,
        digest=4 * DISK_BYTES,
        prepare=CHARACTERS,
        tokenizer=(60, 1 / CHARACTERS),
        tokenize=CHARACTERS,
        run_rows=ROWS,
        measure=50,
        neural=neural,
        compressed=_Compressed(search),
        bm25=Bm25(index=CHARACTERS, bytes=1, query=0.02, query_passage=1e-7),
    )
