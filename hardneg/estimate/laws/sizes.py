"""What is known without timing anything: counts, settings, and facts about the encoder and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardneg.config import Config
from hardneg.estimate.counts import Counts
from hardneg.estimate.machine import Machine
from hardneg.estimate.speeds.measured import Measured
from hardneg.planning.plan import Plan
from hardneg.stages.stage import Stage

ID_BYTES = 24
RUN_ROW_BYTES = 16
POSITION_BYTES = 8


@dataclass(frozen=True)
class EncoderSize:
    """The encoder's size.

    Attributes:
        parameters: number of weights.
        dim: width of its vectors.
        kept: bytes of activations that one text's forward pass keeps for the backward pass, by (width, gradient
            checkpointing) as `hardneg.estimate.widths.training_widths` gives them; only training needs it.
    """

    parameters: int
    dim: int
    kept: Mapping[tuple[int, bool], int]


@dataclass(frozen=True)
class Sizes:
    """Everything that memory and disk depend on. No speeds.

    Attributes:
        config: the configuration.
        counts: of its collection.
        machine: for its cores, GPUs and their memory.
        base_bytes: memory of a process that has loaded the libraries and does nothing.
        encoder: its size; None if the configuration has only BM25.
        bm25_bytes: bytes of Lucene index per character; None if unknown, which leaves its disk unknown.
        processes: of a training, which share the texts of a step.
    """

    config: Config
    counts: Counts
    machine: Machine
    base_bytes: int
    encoder: EncoderSize | None = None
    bm25_bytes: float | None = None
    processes: int = 1

    @property
    def dense(self) -> EncoderSize:
        """The encoder's size, for dense stages."""
        assert self.encoder is not None, "dense stages are planned, so the encoder's size is known"
        return self.encoder

    @property
    def passage_characters(self) -> float:
        """Characters of all passages."""
        return self.counts.passages * self.counts.lengths.passage_characters

    @property
    def characters(self) -> float:
        """Characters of all passages and queries."""
        return self.passage_characters + self.queries * self.counts.lengths.query_characters

    @property
    def queries(self) -> int:
        """Queries of all splits."""
        return sum(self.counts.queries.values())

    @property
    def training_queries(self) -> int:
        """Queries of the training split."""
        return self.counts.of([self.counts.train]) if self.counts.train is not None else 0

    def vectors(self, dtype: str) -> int:
        """Bytes of all passage vectors."""
        return self.counts.passages * self.dense.dim * (2 if dtype == "float16" else 4)

    def queries_of(self, settings: Mapping[str, Any]) -> int:
        """Queries of the splits a stage works on."""
        return self.counts.of(settings["splits"])

    def run_rows(self, run: Stage) -> int:
        """Rows of a run: at most `depth` passages for each query."""
        while run.kind == "rerank":  # as many as the ranking that is reordered
            run = run.parents["run"]
        return self.queries_of(run.settings) * min(run.settings["depth"], self.counts.passages)

    def on_gpu(self, size: int) -> int:
        """`size` if there is a GPU, else 0."""
        return size if self.machine.gpus else 0


def sizes_of(plan: Plan, counts: Counts, measured: Measured, machine: Machine) -> Sizes:
    """The sizes, with the encoder's taken from `speeds`."""
    neural, bm25 = measured.neural, measured.bm25
    encoder = None
    if neural is not None:
        kept = {key: cost.bytes for key, cost in neural.train.items()}
        encoder = EncoderSize(neural.parameters, neural.dim, kept)
    bytes_each = None if bm25 is None else bm25.bytes
    processes = max(1, min(machine.gpus, plan.config.runtime.gpus_per_training))
    return Sizes(plan.config, counts, machine, measured.base_bytes, encoder, bytes_each, processes)
