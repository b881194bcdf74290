"""Encoding passages and queries."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, neural_of
from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage


class Passages(Law):
    """Encoding the collection, in shards."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The weights; token ids are mapped."""
        return sizes.base_bytes + 4 * sizes.dense.parameters

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """The weights."""
        return sizes.on_gpu(4 * sizes.dense.parameters)

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """Passages x dim x 4 bytes, or 2 for float16."""
        return sizes.vectors(stage.settings["dtype"])

    def jobs(self, sizes: Sizes) -> int:
        """One a shard."""
        return sizes.config.runtime.shards

    def processes(self, stage: Stage, sizes: Sizes) -> int:
        """One shard on each GPU; on a CPU, as many as the cores allow with encoding_threads each."""
        config, machine = sizes.config, sizes.machine
        places = machine.gpus or max(1, machine.cores // config.arithmetic.encoding_threads)
        return min(config.runtime.shards, places)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Passages / rate / processes, and the writing."""
        encoding = sizes.counts.passages / neural_of(measured).encode_passages / self.processes(stage, sizes)
        return encoding + self.disk(stage, sizes) / measured.disk_write


class Queries(Law):
    """Encoding queries, on one device."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The weights; token ids are mapped."""
        return sizes.base_bytes + 4 * sizes.dense.parameters

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """The weights."""
        return sizes.on_gpu(4 * sizes.dense.parameters)

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """Queries x dim x 4 bytes."""
        return sizes.queries_of(stage.settings) * sizes.dense.dim * 4

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Queries / rate."""
        return sizes.queries_of(stage.settings) / neural_of(measured).encode_queries
