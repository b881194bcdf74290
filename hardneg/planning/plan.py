"""From a configuration to stages, their versions and their folders.

A stage's version digests its validated scientific settings, its parents' versions and the code it reaches (its
revision). Runtime settings stay out, so that moving data, adding shards or changing devices keeps every version.
Nothing here imports torch: Snakemake evaluates the plan at every start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardneg.config import Config, Splits, load, read_yaml
from hardneg.config.checks.elsewhere import can_move
from hardneg.errors import HardnegError
from hardneg.planning.analyses import ONLY_SYSTEMS, Analyses
from hardneg.planning.backbone import local_backbone
from hardneg.planning.elsewhere import Scored, moved, places_of
from hardneg.planning.graph import Graph
from hardneg.planning.inputs import Inputs
from hardneg.planning.shared import Shared, search_of
from hardneg.planning.sides import of_passages, resolved_sides
from hardneg.planning.systems import TRAINED, Systems, SystemStages, missing_start
from hardneg.stages.stage import RESULTS, Stage, name_of

EXPORTED = ("tokenizer", "model", "passage_model", "passages", "index", "run", "measure")


class Plan:
    """All stages of a configuration, parents first.

    Args:
        config: what to plan.
        within: configuration files of the studies that led to this one, which it must not come back to.
        home: the study whose systems this one evaluates on a further collection; they start from `<dataset>:<system>`.
        read: the splits that the collection is prepared with, where it has more than are evaluated.

    Raises:
        HardnegError: files that the configuration names are missing, or a study that it draws on is wrong.

    Attributes:
        collection: the stage of the prepared collection.
        systems: the stages of each system.
        rounds: the training stages of each system that trains, one a round.
        analyses: the stages behind the report's analyses.
        exports: the export stage of each exported system, and of mined negatives as `<system>-negatives`.
        elsewhere: the plan of each further collection, by its name.
        scored: the collections that the systems are evaluated on as they are, with their scores.
        said: what the encoder's backbone says of itself.
        notes: what people should know before it runs, such as settings that the backbone contradicts.
    """

    def __init__(
        self, config: Config, within: Sequence[Path] = (), home: Plan | None = None, read: Splits | None = None
    ) -> None:
        encoder, self.said, passages_said, self.notes = resolved_sides(config.encoder)
        config = config.model_copy(update={"encoder": encoder})
        self.config, self._within, self._home = config, within, home
        self.dataset = config.collection.name
        self._graph: Graph = Graph(self.dataset, home._graph if home is not None else None)
        self._inputs = Inputs(config, self.said, read)
        self._studies: dict[str, Plan] = {}
        self._at_home = {name_of(stage.record) for stage in home.stages} if home is not None else set[str]()
        self.collection = self._collection()
        self._shared = Shared(config, self._graph, self._inputs, self.collection, passages_said)
        systems = Systems(config, self._shared, self._start_of)
        self.systems, self.rounds = systems.stages, systems.rounds
        self.analyses = Analyses(config, self._shared, systems).plan(self._with_seed)
        self.exports = {name: self._export(name) for name in config.exported}
        for asked in config.exported_negatives:
            self.exports[f"{asked.negatives}-negatives"] = systems.exported_negatives(asked)
        self.elsewhere: dict[str, Plan] = {}
        self.scored = list(self._scored())
        self._graph.save()

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, parents first."""
        return self._graph.stages

    def of(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds."""
        return self._graph.of(*kinds)

    def stage(self, dataset: str, kind: str, label: str, version: str) -> Stage:
        """The stage that a rule's wildcards name; see `Graph.stage`."""
        return self._graph.stage(dataset, kind, label, version)

    @property
    def results(self) -> Path:
        """`results/<dataset>`."""
        return RESULTS / self.dataset

    @property
    def runtime(self) -> dict[str, Any]:
        """What scripts need and versions leave out: runtime settings and where each dataset's files lie here."""
        return {**self.config.runtime.model_dump(mode="json"), "places": self.places}

    @property
    def places(self) -> dict[str, dict[str, Any]]:
        """Where the files lie, on this machine, that stages read from outside; by the stages' names."""
        others = [*self._studies.values(), *self.elsewhere.values()]
        places = {name: place for other in others for name, place in other.places.items()}
        theirs = self._at_home.union(*(other._made for other in others))
        for stage in self.stages:
            name = name_of(stage.record)
            if name not in theirs and (place := self._inputs.place(stage.kind, stage.label, self._backbones(stage))):
                places[name] = place
        return places

    @property
    def _made(self) -> set[str]:
        """The names of its stages without those of the study whose systems it evaluates."""
        return {name_of(stage.record) for stage in self.stages} - self._at_home

    def _backbones(self, stage: Stage) -> dict[str, str]:
        """The local backbones that a stage reads, by the names of their places."""
        if stage.kind == "tokenizer":
            read = {"backbone": stage.settings}
        elif stage.kind in (*TRAINED, "deepct"):
            named = {"backbone": "encoder", "passage_backbone": "passage_encoder"}
            read = {place: stage.settings.get(key, {}) for place, key in named.items()}
        else:
            return {}
        found = {place: self._local(digests) for place, digests in read.items() if digests.get("backbone") == "local"}
        return {place: folder for place, folder in found.items() if folder is not None}

    def _local(self, digests: Mapping[str, Any]) -> str | None:
        """The folder of a local backbone of this configuration with these digests."""
        encoder = self.config.encoder
        for section in (encoder, of_passages(encoder) or encoder, self.config.cross_encoder):
            folder = local_backbone(section.backbone)
            if folder is not None and self._shared.backbone(section)["files"] == digests["files"]:
                return str(folder)
        return None

    def _collection(self) -> Stage:
        settings, roots, download = self._inputs.collection()
        if "distributions" in settings:
            from hardneg.data.installed import differences

            self.notes += differences(settings["distributions"])
        name = self.config.collection.name
        files = self._graph.add("download", name, download, {}) if download is not None else None
        return self._graph.add("collection", name, settings, {"files": files}, roots)

    def _study(self, name: str) -> Plan:
        """The plan of another study, whose systems this one starts from or evaluates."""
        if self._home is not None:
            return self._home
        if name not in self._studies:
            path = self.config.studies[name]
            if path.resolve() in self._within:
                raise HardnegError(
                    "Studies draw on each other in a circle.",
                    where=f"studies.{name}",
                    found=" -> ".join(map(str, (*self._within, path))),
                    remedy="let one of them stand alone.",
                )
            try:
                self._studies[name] = Plan(load(read_yaml(path)), (*self._within, path.resolve()))
            except HardnegError as fault:
                raise HardnegError(
                    "A study that this one draws on cannot be planned.",
                    where=f"studies.{name}: {path}",
                    remedy=f"correct it first:\n{fault}",
                ) from None
        return self._studies[name]

    def _start_of(self, start: str, key: str) -> SystemStages:
        study, _, name = start.partition(":")
        systems = self._study(study).systems
        if name not in systems or systems[name].model is None:
            raise missing_start(start, key, systems)
        return systems[name]

    def _with_seed(self, seed: int) -> Mapping[str, SystemStages]:
        analyses = self.config.analyses.model_copy(update=ONLY_SYSTEMS)
        again = self.config.model_copy(update={"seed": seed, "analyses": analyses, "export": (), "evaluate_on": ()})
        return Plan(again, self._within).systems

    def _scored(self) -> Iterator[Scored]:
        """What scores the systems on the collections of `evaluate_on`; those of this study's own are there already."""
        names = [name for name in self.config.systems if can_move(name, self.config)]
        places = places_of(self.config)
        several = sum(place.collection is None for place in places) > 1
        for place in places:
            if place.collection is None:
                at: Plan = self
            else:
                at = Plan(moved(self.config, place), home=self, read=place.read)
                self.elsewhere[at.dataset] = at
                self.notes += [note for note in at.notes if note not in self.notes]
            measures = {name: self._graph.adopt(at.systems[name].measure) for name in names}
            split = place.entry.split
            yield Scored(at.dataset, split if at is self and several else at.dataset, split, measures)

    def _export(self, name: str) -> Stage:
        """A system in the layouts of other tools."""
        stages, evaluation = self.systems[name], self.config.evaluation
        settings = {
            "system": name,
            "splits": self._shared.evaluated,
            "measures": evaluation.measures,
            "search": search_of(self.config.index_of(name)),
            "about": {"systems": self._chain(name), "format": self.config.collection.format},
        }
        parents: dict[str, Stage | None] = {role: getattr(stages, role) for role in EXPORTED}
        if stages.tokenizer is not None:
            parents["tokens"] = self._shared.tokens(stages.tokenizer)
        return self._graph.add("export", name, settings, {"collection": self.collection, **parents})

    def _chain(self, name: str) -> dict[str, Any]:
        """A system's answers, and those of the systems it starts from and mines; the nearest first."""
        system = self.config.systems[name]
        answers = {name: system.model_dump(mode="json", by_alias=True, exclude={"runs", "vectors"})}
        mined = [source.mined_system(None) for source in system.source]
        for other in (system.from_, *mined):
            if other in self.config.systems:
                answers |= self._chain(other)
        return answers
