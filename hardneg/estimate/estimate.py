"""Predict the time, memory and disk of each stage of a configuration, and warn about what will not fit.

`counts` says how much data there is, `speeds` measure this machine, and `laws` combine the two. Finished stages are
reported with what they actually took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hardneg.estimate.counts import Counts
from hardneg.estimate.laws.index import is_compressed
from hardneg.estimate.laws.sizes import Sizes, sizes_of
from hardneg.estimate.laws.table import need_of
from hardneg.estimate.laws.training import is_live, list_length
from hardneg.estimate.machine import Machine, this_machine
from hardneg.estimate.needs import Need, size_text
from hardneg.estimate.remedies import less_disk, less_memory, or_smaller_index
from hardneg.estimate.speeds.measure import measure
from hardneg.estimate.speeds.measured import Measured
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import COST, read_cost
from hardneg.stages.stage import Stage


@dataclass(frozen=True)
class Row:
    """A stage and what it needs, or took."""

    stage: Stage
    predicted: bool
    need: Need

    @property
    def kind(self) -> str:
        """The kind of stage."""
        return self.stage.kind

    @property
    def label(self) -> str:
        """The stage's label, for people."""
        return self.stage.label


@dataclass(frozen=True)
class Estimate:
    """All stages of a configuration, and warnings for the user."""

    dataset: str
    counts: Counts
    machine: Machine
    measured: Measured
    rows: list[Row]
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Predicted seconds of the remaining stages, one after another. Stages that were not measured are left out."""
        return sum(row.need.seconds or 0 for row in self.rows if row.predicted)

    @property
    def disk(self) -> int:
        """Predicted bytes that the remaining stages add."""
        return sum(row.need.disk or 0 for row in self.rows if row.predicted)

    @property
    def scratch(self) -> int:
        """The most temporary disk space that one of them uses, in bytes."""
        return max((row.need.scratch for row in self.rows if row.predicted), default=0)


def estimate(
    plan: Plan,
    counts: Counts,
    measured: Measured,
    machine: Machine,
    *,
    all_to_do: bool = False,
    elsewhere: Mapping[str, Counts] = MappingProxyType({}),
) -> Estimate:
    """Predict every unfinished stage of a plan.

    The time to check the inputs' digests and to write the outputs' is added to each stage: bytes / rate of SHA-256.

    Args:
        plan: of the configuration.
        counts: of its collection.
        measured: by `speeds`.
        machine: to predict for.
        all_to_do: treat finished stages as unfinished, since they were made from other counts.
        elsewhere: counts of the further collections that systems are evaluated on, by name; without those of one, what
            its stages need is not known.
    """
    sizes = sizes_of(plan, counts, measured, machine)
    others = {name: sizes_of(plan.elsewhere[name], found, measured, machine) for name, found in elsewhere.items()}
    rows: list[Row] = []
    written: dict[str, int] = {}
    for stage in plan.stages:
        predicted = all_to_do or not stage.manifest.exists()
        need = need_of(stage, others.get(stage.dataset, sizes), measured) if predicted else finished(stage)
        written[stage.version] = need.disk or 0
        if predicted and need.seconds is not None:
            checked = written[stage.version] + sum(written[parent.version] for parent in stage.parents.values())
            need = replace(need, seconds=need.seconds + checked / measured.digest)
        rows.append(Row(stage, predicted, need))
    found = Estimate(plan.dataset, counts, machine, measured, rows)
    return replace(found, warnings=list(_warnings(found, sizes)))


def on_this_machine(
    plan: Plan,
    counts: Counts,
    device: str,
    gpus: int,
    *,
    quick: bool = False,
    all_to_do: bool = False,
    elsewhere: Mapping[str, Counts] = MappingProxyType({}),
) -> Estimate:
    """Measure this machine and predict.

    Args:
        plan: of the configuration.
        counts: of its collection.
        device: the torch device to measure, held by this process.
        gpus: how many of this device to predict for; ignored on a CPU.
        quick: measure for a shorter time, less accurately.
        all_to_do: as for `estimate`.
        elsewhere: as for `estimate`.

    Raises:
        HardnegError: see `hardneg.estimate.speeds.measure.measure`.
    """
    machine = this_machine(device, gpus)
    measured = measure(plan, counts.lengths, searches_of(plan), device, quick)
    return estimate(plan, counts, measured, machine, all_to_do=all_to_do, elsewhere=elsewhere)


def searches_of(plan: Plan) -> list[tuple[int, int]]:
    """(queries in a batch, passages retrieved for each) of every vector search in a plan."""
    from hardneg.retrieval.search.sizes import QUERY_BATCH

    pairs = [(QUERY_BATCH, stage.settings["depth"]) for stage in plan.of("run")]
    live = [
        (stage.settings["train"]["batch_size"], list_length(stage.settings))
        for stage in plan.of("query_encoder")
        if is_live(stage.settings)
    ]
    return list(dict.fromkeys(pairs + live))


def finished(stage: Stage) -> Need:
    """What a finished stage took, from `cost.json` and its manifest. For shards, the longest time and most memory."""
    files = json.loads(stage.manifest.read_text(encoding="utf-8"))["files"]
    shards = [read_cost(path) for path in sorted(stage.folder.glob(f"shard-*.{COST}"))]
    cost = stage.folder / COST
    own = [read_cost(cost)] if cost.exists() else []
    seconds = sum(entry["seconds"] for entry in own) + max((entry["seconds"] for entry in shards), default=0.0)
    memory = max((entry["peak_memory_mib"] for entry in own + shards), default=None)
    return Need(
        seconds if own or shards else None,
        None if memory is None else round(memory * 2**20),
        sum(entry["bytes"] for entry in files.values()),
        None,
    )


def _warnings(found: Estimate, sizes: Sizes) -> Iterator[str]:
    """What will not fit, and what to change."""
    machine, runtime = found.machine, sizes.config.runtime
    stages, to_do = [row.stage for row in found.rows], [row for row in found.rows if row.predicted]
    for row in to_do:
        yield from _memory_warnings(row, sizes)
    if found.disk + found.scratch > machine.disk:
        yield (
            f"Not enough disk: the stages add {size_text(found.disk)} and need up to {size_text(found.scratch)} of "
            f"temporary space, but only {size_text(machine.disk)} is free. {less_disk(stages, sizes)}"
        )
    if any(row.kind == "passages" for row in to_do) and runtime.shards < machine.gpus:
        yield (
            f"Only {runtime.shards} of {machine.gpus} GPUs will encode passages: "
            f"set runtime.shards to a multiple of {machine.gpus}."
        )
    if any(row.kind == "query_encoder" for row in to_do):
        yield from _live_search_warnings([stage for stage in stages if stage.kind == "query_encoder"], sizes)


def _memory_warnings(row: Row, sizes: Sizes) -> Iterator[str]:
    """A stage that needs more memory than the host or a GPU has."""
    machine, need, name = sizes.machine, row.need, f"{row.kind} {row.label}"
    if need.memory is not None and need.memory * need.processes > machine.memory:
        at_once = f" ({need.processes} processes side by side)" if need.processes > 1 else ""
        yield (
            f"{name} will not fit in memory: it needs {size_text(need.memory * need.processes)}{at_once}, "
            f"but only {size_text(machine.memory)} is free. {less_memory(row.stage, need, sizes)}"
        )
    if need.gpu_memory is not None and need.gpu_memory > machine.gpu_memory > 0:
        yield (
            f"{name} will not fit on the GPU: it needs {size_text(need.gpu_memory)}, "
            f"but only {size_text(machine.gpu_memory)} is free. {less_memory(row.stage, need, sizes)}"
        )


def _live_search_warnings(stages: list[Stage], sizes: Sizes) -> Iterator[str]:
    """Trainings that search at every step, with vectors that do not stay in memory."""
    machine, config = sizes.machine, sizes.config
    names = ", ".join(stage.label for stage in stages if not is_compressed(stage.parents["index"]))
    if not names:
        return
    vectors = sizes.vectors(config.arithmetic.vectors)
    share = sizes.vectors("float32") // max(1, min(machine.gpus, config.runtime.gpus_per_search))
    if machine.gpus and share > machine.gpu_memory // 2:
        yield (
            f"query_encoder {names}: each searching GPU needs {size_text(share)} for its share of the vectors, more "
            "than half of its memory. They are copied to it at every step; the times above do not include this. Raise "
            f"runtime.gpus_per_search{or_smaller_index(sizes)}."
        )
    elif not machine.gpus and vectors > machine.memory:
        yield (
            f"query_encoder {names}: {size_text(vectors)} of vectors do not fit in memory. They are read from disk at "
            f"every step; the times above do not include this. Use a GPU{or_smaller_index(sizes)}."
        )
