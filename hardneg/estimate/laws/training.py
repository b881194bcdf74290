"""Training: of both encoders, and of the query encoder alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from hardneg.estimate.laws.base import Law, neural_of
from hardneg.estimate.laws.mining import mined_rows
from hardneg.estimate.laws.search import search_bytes, search_seconds
from hardneg.estimate.laws.sizes import POSITION_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.estimate.widths import training_widths
from hardneg.methods.axes import function_of
from hardneg.stages.stage import Stage
from hardneg.training.schedule import total_steps

ADAM_BYTES = 16  # per parameter: weight, gradient and two moments
CHECKPOINT_BYTES = 12  # per parameter: weight and two moments
CHECKPOINTS = 3  # two kept, one being written


class _Training(Law):
    """What both trainings share."""

    @abstractmethod
    def device_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """Bytes on the device that trains."""

    @abstractmethod
    def host_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """Bytes of data on the host."""

    @abstractmethod
    def step_seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Seconds of one optimizer step."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """Of each process the data, and what its device holds; only the weights if the device is a GPU."""
        on_host = 4 * parameters(stage, sizes) if sizes.machine.gpus else self.device_bytes(stage, sizes)
        return sizes.processes * (sizes.base_bytes + self.host_bytes(stage, sizes) + on_host)

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """What the device holds."""
        return sizes.on_gpu(self.device_bytes(stage, sizes))

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """The weights."""
        return 4 * parameters(stage, sizes)

    def scratch(self, stage: Stage, sizes: Sizes) -> int:
        """Checkpoints of weights and moments: two kept, and one being written."""
        return CHECKPOINTS * CHECKPOINT_BYTES * parameters(stage, sizes)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Steps x the seconds of a step."""
        return _steps(stage.settings, sizes) * self.step_seconds(stage, sizes, measured)


class Untrained(Law):
    """Taking a backbone as it is: its weights are read and written."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The weights, on the host."""
        return sizes.base_bytes + 4 * parameters(stage, sizes)

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """The weights."""
        return 4 * parameters(stage, sizes)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Next to nothing."""
        return 0.0


class DualEncoder(_Training):
    """Training both encoders on pairs, on one device.

    A step takes B queries and B (1 + h) passages. B is train.batch_size, and h is the number of negatives drawn for
    each query.
    """

    def device_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """Weights, gradients and Adam's moments, and the activations of all texts in a step, or of a chunk of them."""
        batch = stage.settings["train"]["batch_size"]
        rows = batch * (1 + negatives(stage.settings))
        return ADAM_BYTES * parameters(stage, sizes) + held_bytes(stage.settings, batch, rows, sizes) // sizes.processes

    def host_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """The offset of each text, and the mined lists."""
        return POSITION_BYTES * (sizes.counts.passages + sizes.training_queries) + _mined_bytes(stage, sizes)

    def step_seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Forward and backward of all texts, and the optimizer."""
        neural, batch = neural_of(measured), stage.settings["train"]["batch_size"]
        passage, query = training_widths(stage.settings["train"], sizes.counts.lengths)
        rows = batch * (1 + negatives(stage.settings))
        texts = batch * neural.train[query].seconds + rows * neural.train[passage].seconds
        return texts * _passes(stage.settings) / sizes.processes + encoders(stage.settings) * neural.optimizer


class QueryEncoder(_Training):
    """Training the query encoder on lists of passage vectors. Static lists need no search.

    Where the index is searched at every step, the vectors are shared among the searching devices if each share fits in
    half of a GPU's memory. Otherwise they are read at every step.
    """

    def device_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """As for `DualEncoder`, with queries only; the retrieved vectors [B, depth, dim]; and what the search holds."""
        settings, dense = stage.settings, sizes.dense
        batch = settings["train"]["batch_size"]
        listed = batch * list_length(settings) * dense.dim * 4
        held = held_bytes(settings, batch, 0, sizes) // sizes.processes
        return ADAM_BYTES * dense.parameters + held + listed + self._search_bytes(stage, sizes)[0]

    def host_bytes(self, stage: Stage, sizes: Sizes) -> int:
        """The offset of each query, the mined lists, and what the search keeps on the host."""
        searching = self._search_bytes(stage, sizes)[1]
        return searching + POSITION_BYTES * sizes.training_queries + _mined_bytes(stage, sizes)

    def step_seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float:
        """Forward and backward of the queries, the search, and the optimizer."""
        neural, settings = neural_of(measured), stage.settings
        batch = settings["train"]["batch_size"]
        _, query = training_widths(settings["train"], sizes.counts.lengths)
        search = 0.0
        if is_live(settings):
            search = search_seconds(stage.parents["index"], (batch, list_length(settings)), sizes, measured)
        texts = batch * neural.train[query].seconds * _passes(settings)
        return texts / sizes.processes + search + neural.optimizer

    def _search_bytes(self, stage: Stage, sizes: Sizes) -> tuple[int, int]:
        if not is_live(stage.settings):
            return 0, 0
        return search_bytes(stage.parents["index"], stage.settings["train"]["batch_size"], sizes)


def parameters(stage: Stage, sizes: Sizes) -> int:
    """Weights of all encoders that a stage trains or writes."""
    return encoders(stage.settings) * sizes.dense.parameters


def encoders(settings: Mapping[str, Any]) -> int:
    """Encoders that a stage trains: two where queries and passages have one each."""
    return 2 if settings.get("untied") else 1


def kept_bytes(settings: Mapping[str, Any], sizes: Sizes) -> tuple[int, int]:
    """Bytes of activations kept for a passage and for a query, for these settings."""
    passage, query = training_widths(settings["train"], sizes.counts.lengths)
    return sizes.dense.kept[passage], sizes.dense.kept[query]


def held_bytes(settings: Mapping[str, Any], queries: int, passages: int, sizes: Sizes) -> int:
    """Bytes of activations of a step's queries and passages: of all at once, or of one chunk where there are chunks."""
    passage, query = kept_bytes(settings, sizes)
    chunk: int | None = settings["train"]["chunk"]
    if chunk is None:
        return queries * query + passages * passage
    return max(min(queries, chunk) * query, min(passages, chunk) * passage)


def _passes(settings: Mapping[str, Any]) -> float:
    """Passes over a text, of which a backward pass counts as two, over the three of plain training."""
    return 1.0 if settings["train"]["chunk"] is None else 4 / 3


# What is asked of the chosen answers. Nothing else in this package knows them.


def negatives(settings: Mapping[str, Any]) -> int:
    """Negatives drawn for each query in a step."""
    sampler = settings["sampler"]
    return 0 if sampler is None else int(sampler.get("count") or _depth(settings))


def list_length(settings: Mapping[str, Any]) -> int:
    """Passages in a query's list, where only the query encoder is trained."""
    return _depth(settings) if settings["live"] else negatives(settings)


def is_live(settings: Mapping[str, Any]) -> bool:
    """Whether the index is searched at every step."""
    live: bool = settings["live"]
    return live


def _depth(settings: Mapping[str, Any]) -> int:
    return max((source.get("depth") or 1 for source in settings["source"]), default=1)


def _steps(settings: Mapping[str, Any], sizes: Sizes) -> int:
    """Optimizer steps of one stage: the whole training, or one round of it."""
    train = settings["train"]
    total = total_steps(train["steps"], train["epochs"], sizes.training_queries, train["batch_size"])
    first, end = function_of("refresh", settings["refresh"])(total, settings["round"])
    steps: int = end - first
    return steps


def _mined_bytes(stage: Stage, sizes: Sizes) -> int:
    """Bytes of the mined lists in memory."""
    mined = stage.parents.get("negatives")
    return 0 if mined is None else 2 * POSITION_BYTES * mined_rows(mined, sizes)
