"""BM25 with Lucene."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, over
from hardneg.estimate.laws.sizes import RUN_ROW_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

JVM_BESIDES_HEAP = 200 << 20
SEARCH_THREADS = 2


class Bm25Index(Law):
    """Building the Lucene index."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The Java heap and the virtual machine."""
        return _with_jvm(sizes)

    def disk(self, stage: Stage, sizes: Sizes) -> int | None:
        """Measured bytes per character."""
        return None if sizes.bm25_bytes is None else round(sizes.passage_characters * sizes.bm25_bytes)

    def scratch(self, stage: Stage, sizes: Sizes) -> int:
        """The index once more, while segments are merged."""
        return self.disk(stage, sizes) or 0

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Characters / rate."""
        return over(sizes.passage_characters, None if measured.bm25 is None else measured.bm25.index)


class Bm25Run(Law):
    """Searching the Lucene index."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The Java heap and the virtual machine."""
        return _with_jvm(sizes)

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most 16 bytes a row."""
        return sizes.run_rows(stage) * RUN_ROW_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Queries x (a + b passages) / threads. A rough guess: b is hard to measure on a small index."""
        if (bm25 := measured.bm25) is None:
            return None
        each = bm25.query + bm25.query_passage * sizes.counts.passages
        return sizes.queries_of(stage.settings) * each / min(SEARCH_THREADS, sizes.machine.cores)


def _with_jvm(sizes: Sizes) -> int:
    return sizes.base_bytes + (sizes.config.runtime.java_heap_mib << 20) + JVM_BESIDES_HEAP
