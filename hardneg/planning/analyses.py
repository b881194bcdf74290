"""The stages behind the report's analyses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from hardneg.config import Config, Index
from hardneg.planning.inputs import plain
from hardneg.planning.shared import Shared, search_of
from hardneg.planning.systems import Systems, SystemStages
from hardneg.stages.stage import Stage

# Another seed's systems are scored, not looked into; what changes their training stays.
ONLY_SYSTEMS: dict[str, None] = dict.fromkeys(
    ("pairwise_errors", "negatives", "agreement", "examples", "compression", "movement", "seeds")
)


class Cell(NamedTuple):
    """A system, or the base, on an index.

    Attributes:
        system: its name.
        trained_on: the index it was trained on; None for the base.
        served_on: the index that ranks for it here.
        built: that index's stage.
        measure: what scores it.
    """

    system: str
    trained_on: Index | None
    served_on: Index
    built: Stage
    measure: Stage


@dataclass
class Analysed:
    """The stages behind the report's analyses, by system; empty where nothing was asked for."""

    errors: dict[str, Stage] = field(default_factory=dict)
    diagnosis: dict[str, Stage] = field(default_factory=dict)
    agreement: Stage | None = None
    trajectory: dict[str, list[Stage]] = field(default_factory=dict)
    movement: Stage | None = None
    compression: list[Cell] = field(default_factory=list)
    seeds: dict[tuple[str, int], Stage] = field(default_factory=dict)

    @property
    def parts(self) -> set[str]:
        """Which optional parts of the report's material there will be; see `hardneg.report.material`."""
        analysed = {
            "errors": self.errors,
            "negatives": self.diagnosis,
            "agreement": self.agreement,
            "trajectory": self.trajectory,
            "movement": self.movement,
            "compression": self.compression,
            "seeds": self.seeds,
        }
        return {part for part, stages in analysed.items() if stages}

    @property
    def manifests(self) -> list[Path]:
        """What must be finished before the report is written."""
        stages = [*self.errors.values(), *self.diagnosis.values(), *chain.from_iterable(self.trajectory.values())]
        stages += [stage for stage in (self.agreement, self.movement) if stage is not None]
        stages += [stage for cell in self.compression for stage in (cell.built, cell.measure)]
        return list(dict.fromkeys(stage.manifest for stage in (*stages, *self.seeds.values())))


class Analyses:
    """Plans what the report looks into.

    Args:
        config: what to plan.
        shared: stages that systems share.
        systems: the systems, planned before.
    """

    def __init__(self, config: Config, shared: Shared, systems: Systems) -> None:
        self._config, self._shared, self._graph, self._systems = config, shared, shared.graph, systems

    def plan(self, other_seed: Callable[[int], Mapping[str, SystemStages]]) -> Analysed:
        """All that was asked for.

        Args:
            other_seed: the systems of this configuration with another seed.
        """
        asked, analysed = self._config.analyses, Analysed()
        encoded = {name: stages for name, stages in self._systems.stages.items() if stages.passages is not None}
        errors = asked.pairwise_errors
        # Passages are counted, not documents, and among all of the collection.
        if errors is not None and self._config.collection.windows is None and not self._shared.joined:
            analysed.errors = {name: self._errors(name, stages, errors.k) for name, stages in encoded.items()}
        if asked.negatives is not None:
            trained = [name for name, system in self._config.systems.items() if system.trains != "nothing"]
            analysed.diagnosis = {name: self._diagnosis(name, asked.negatives.teacher) for name in trained}
        if asked.agreement is not None:
            analysed.agreement = self._agreement()
        if asked.trajectory is not None:
            analysed.trajectory = {
                name: [self._trajectory(name, model, asked.trajectory.k) for model in self._systems.rounds[name]]
                for name in asked.trajectory.systems
            }
        if asked.movement is not None:
            analysed.movement = self._movement(asked.movement.system)
        if asked.compression is not None:
            analysed.compression = self._compression(asked.compression.base, asked.compression.systems)
        for seed in asked.seeds.more if asked.seeds is not None else ():
            other = other_seed(seed)
            for name in asked.seeds.systems if asked.seeds is not None else ():
                analysed.seeds[name, seed] = self._graph.adopt(other[name].measure)
                self._graph.adopt(other[name].run)
        return analysed

    def _looked_at(self) -> dict[str, Any]:
        """The split that analyses look at, and its lowest relevant grade."""
        split = self._config.analysed_split
        return {"split": split, "relevant_grade": self._config.evaluation.relevant_grades([split])[split]}

    @property
    def _threads(self) -> int:
        return self._config.arithmetic.encoding_threads

    def _errors(self, name: str, stages: SystemStages, k: int) -> Stage:
        settings = {**self._looked_at(), "k": k, "threads": self._threads}
        parents = {"collection": self._shared.collection, "passages": stages.passages, "queries": stages.queries}
        return self._graph.add("pairwise_errors", name, settings, parents)

    def _diagnosis(self, name: str, teacher: str | None) -> Stage:
        train, model = self._config.splits.train, self._systems.stages[name].model
        assert train is not None and model is not None
        parents: dict[str, Stage | None] = {"collection": self._shared.collection, "model": model}
        needed = ("negatives", "passages_", "queries_", "clusters", "teacher", "outside")
        parents |= {role: parent for role, parent in model.parents.items() if role.startswith(needed)}
        if (negatives := model.parents.get("negatives")) is not None:
            parents["run"] = negatives.parents["run"]
            if teacher is not None:
                judge = self._systems.stages[teacher].roles
                queries = self._shared.queries(teacher, judge["tokenizer"], judge["model"], [train])
                parents |= {"teacher_passages": judge["passages"], "teacher_queries": queries}
        return self._graph.add("diagnosis", name, {"split": train, "threads": self._threads}, parents)

    def _agreement(self) -> Stage:
        runs = {f"run.{name}": stages.run for name, stages in self._systems.stages.items()}
        assert self._config.analyses.agreement is not None
        settings = {**plain(self._config.analyses.agreement), **self._looked_at()}
        return self._graph.add(
            "agreement", self._graph.dataset, settings, {"collection": self._shared.collection, **runs}
        )

    def _trajectory(self, name: str, model: Stage, k: int) -> Stage:
        evaluation, index = self._config.evaluation, self._config.index_of(name)
        settings = {**self._looked_at(), "k": k, "measures": evaluation.measures, "depth": evaluation.depth}
        settings |= {"main": evaluation.main_measure, "search": search_of(index), "threads": self._threads}
        parents = {role: model.parents.get(role) for role in ("collection", "passages", "index", "negatives")}
        return self._graph.add("trajectory", model.label, settings, {**parents, "model": model})

    def _movement(self, name: str) -> Stage:
        assert self._config.analyses.movement is not None
        settings = {**plain(self._config.analyses.movement, drop=["system"]), **self._looked_at()}
        settings |= {"seed": self._config.seed, "threads": self._threads}
        parents = {"collection": self._shared.collection, "passages": self._systems.stages[name].passages}
        return self._graph.add("movement", name, settings, {**parents, "model": self._systems.rounds[name][-1]})

    def _compression(self, base: str, systems: Sequence[str]) -> list[Cell]:
        """Every system, and the base, on every index that one of them was trained on."""
        cells, indexes = [], {name: self._config.index_of(name) for name in systems}
        for name in (base, *systems):
            roles = self._systems.stages[name].roles
            for index in dict.fromkeys(indexes.values()):
                built = self._shared.index(roles["passages"].label, roles["passages"], index)
                if index == indexes.get(name):  # its own, whose centroids it may have trained
                    built = roles["index"]
                label = f"{name}.on.{re.sub(r'[^A-Za-z0-9]+', '-', index.factory)}"
                run = self._shared.dense_run(label, {**roles, "index": built}, index)
                cells.append(Cell(name, indexes.get(name), index, built, self._shared.measure(label, run)))
        return cells
