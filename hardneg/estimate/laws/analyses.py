"""Evaluation, and the analyses behind the report."""

from __future__ import annotations

import math

from hardneg.estimate.laws.base import Law, neural_of, over
from hardneg.estimate.laws.mining import mined_rows
from hardneg.estimate.laws.search import search_bytes, search_seconds
from hardneg.estimate.laws.sizes import ID_BYTES, RUN_ROW_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

TREC_LINE_BYTES = 50
MINED_ROW_BYTES = 20


class Measure(Law):
    """Scoring a run."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The run, twice, and every passage id."""
        rows = sizes.run_rows(stage.parents["run"])
        return sizes.base_bytes + 2 * rows * RUN_ROW_BYTES + sizes.counts.passages * ID_BYTES

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """The run in TREC format, 50 bytes a line."""
        return sizes.run_rows(stage.parents["run"]) * TREC_LINE_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Queries / rate."""
        return over(sizes.queries_of(stage.parents["run"].settings), measured.measure)


class Errors(Law):
    """Counting pairwise errors of one split."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """What the search holds on the host."""
        searching, host = self._search_bytes(sizes)
        return sizes.base_bytes + (host if sizes.machine.gpus else searching)

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """The searching device's share of the vectors."""
        return sizes.on_gpu(self._search_bytes(sizes)[0])

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """16 bytes a query."""
        return sizes.counts.of([stage.settings["split"]]) * RUN_ROW_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Two exact searches: one for the scores of the positives, one to count what ranks above them."""
        from hardneg.retrieval.search.sizes import QUERY_BATCH

        batches = math.ceil(sizes.counts.of([stage.settings["split"]]) / QUERY_BATCH)
        pair = next(iter(neural_of(measured).search))
        return 2 * batches * search_seconds(None, pair, sizes, measured)

    def _search_bytes(self, sizes: Sizes) -> tuple[int, int]:
        from hardneg.retrieval.search.sizes import QUERY_BATCH

        return search_bytes(None, QUERY_BATCH, sizes)


class Diagnosis(Law):
    """Diagnosing mined negatives."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """20 bytes for each mined row."""
        return sizes.base_bytes + MINED_ROW_BYTES * self._rows(stage, sizes)

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """Next to nothing."""
        return 0

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Mined rows / rate, without reading a teacher's vectors."""
        return over(self._rows(stage, sizes), measured.run_rows)

    def _rows(self, stage: Stage, sizes: Sizes) -> int:
        return mined_rows(stage, sizes) if "run" in stage.parents else 0


class Agreement(Law):
    """Comparing the runs of all systems."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The libraries alone."""
        return sizes.base_bytes

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """Next to nothing."""
        return 0

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Rows of all runs / rate."""
        runs = len(stage.parents) - 1
        rows = runs * sizes.counts.of([stage.settings["split"]]) * sizes.config.evaluation.depth
        return over(rows, measured.run_rows)
