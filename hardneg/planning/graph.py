"""From a configuration to stages, their versions and their folders.

A stage's version digests its validated scientific settings, its parents' versions and the code it reaches (its
revision). Runtime settings stay out, so that moving data, adding shards or changing devices keeps every version.
Nothing here imports torch: Snakemake evaluates the plan at every start.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hardneg import axes
from hardneg.config import (
    Config,
    Encoder,
    FolderCollection,
    Index,
    IrDatasetsCollection,
    Model,
    PyDocsCollection,
    System,
    load,
    read_yaml,
)
from hardneg.data import readers
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import MANIFEST, cached_digest, canonical_json, write_json
from hardneg.stages.revision import PACKAGE, code_revision
from hardneg.text.tokenizer_contract import read_contract

ARTIFACTS = Path("artifacts")
RESULTS = Path("results")

# How texts are read: the tokenizer's business, not the weights'.
READING = ("passage_template", "lower_case", "prefix_space", "characters", "contract")

# Settings of an index that only its searches see.
SEARCHED = ("nprobe", "ef_search")

EXPORTED = ("tokenizer", "model", "passage_model", "passages", "index", "run", "measure")

# Another seed's systems are scored, not looked into; what changes their training stays.
ONLY_SYSTEMS: dict[str, None] = dict.fromkeys(
    ("errors", "negatives", "agreement", "examples", "compression", "movement", "seeds")
)

ARITHMETIC = "hardneg.stages.devices:set_arithmetic_threads"
TEXT_TO_VECTOR = ("hardneg.model.encoder:Encoder", "hardneg.text.tokens:TokenStore")

# What each kind of stage runs. The answers of a system's axes come on top.
ROOTS: dict[str, tuple[str, ...]] = {
    "download": ("hardneg.data.download:fetch",),
    "collection": ("hardneg.data.prepare:prepare", "hardneg.data.prepare:repairs"),
    "tokenizer": ("hardneg.text.tokens:make_tokenizer",),
    "tokens": ("hardneg.text.tokens:tokenize",),
    "bm25_index": (
        "hardneg.retrieval.lexical:build_index",
        "hardneg.text.tokens:passage_texts",
        "hardneg.data.template:Reading",
    ),
    "bm25_run": (
        "hardneg.retrieval.lexical:search",
        "hardneg.text.tokens:query_texts",
        "hardneg.retrieval.runs:write_run",
    ),
    "mine": ("hardneg.retrieval.mine:mine", "hardneg.data.judgements:Judgements"),
    "train": ("hardneg.training.dual_encoder:train", ARITHMETIC),
    "passages": (
        "hardneg.model.embedding:encode_passages",
        "hardneg.model.embedding:shard_rows",
        *TEXT_TO_VECTOR,
        ARITHMETIC,
    ),
    "queries": ("hardneg.model.embedding:encode_queries", *TEXT_TO_VECTOR, ARITHMETIC),
    "given_run": ("hardneg.retrieval.given:import_run",),
    "given_vectors": ("hardneg.retrieval.given:import_vectors",),
    "index": ("hardneg.retrieval.search.index:build_index", "hardneg.retrieval.search.retrieve:vectors_of", ARITHMETIC),
    "run": (
        "hardneg.retrieval.search.retrieve:retrieve",
        "hardneg.retrieval.search.retrieve:open_searcher",
        "hardneg.retrieval.runs:write_run",
        ARITHMETIC,
    ),
    "adore": ("hardneg.training.query_encoder:train", ARITHMETIC),
    "errors": ("hardneg.analysis.errors:pairwise_errors", ARITHMETIC),
    "trajectory": ("hardneg.analysis.trajectory:trajectory", ARITHMETIC),
    "diagnosis": ("hardneg.analysis.diagnosis:diagnose", ARITHMETIC),
    "agreement": ("hardneg.analysis.agreement:agreement",),
    "movement": ("hardneg.analysis.movement:movement", ARITHMETIC),
    "export": ("hardneg.export.export:export",),
    "measure": (
        "hardneg.evaluation.measures:evaluate",
        "hardneg.evaluation.measures:parse_measures",
        "hardneg.data.documents:judged_documents",
        "hardneg.data.documents:read_documents",
        "hardneg.retrieval.runs:read_run",
        "hardneg.retrieval.runs:best_passage",
        "hardneg.retrieval.runs:write_trec",
    ),
}


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of the plan.

    Attributes:
        dataset: the collection's name.
        kind: which rule makes it: a key of `ROOTS`.
        label: the system, round or shared part it belongs to.
        settings: validated scientific settings, JSON types only.
        parents: the stages it reads, by role.
        revision: digest of the code it reaches.
    """

    dataset: str
    kind: str
    label: str
    settings: dict[str, Any]
    parents: dict[str, Stage] = field(default_factory=dict)
    revision: str = ""

    @cached_property
    def version(self) -> str:
        """Twelve hexadecimal digits that change with anything that could change the result."""
        return hashlib.sha256(canonical_json({"kind": self.kind, **self._identity()}).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """`artifacts/<dataset>/<kind>/<label>-<version>`."""
        return ARTIFACTS / name_of(self.record)

    @property
    def manifest(self) -> Path:
        """The file whose presence says that the stage is finished."""
        return self.folder / MANIFEST

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest repeats and the stage's script is given."""
        return {
            "dataset": self.dataset,
            "kind": self.kind,
            "label": self.label,
            "version": self.version,
            **self._identity(),
        }

    def _identity(self) -> dict[str, Any]:
        parents = {role: parent.version for role, parent in self.parents.items()}
        return {"settings": self.settings, "parents": parents, "revision": self.revision}


def name_of(record: Mapping[str, Any]) -> str:
    """`<dataset>/<kind>/<label>-<version>` of a stage's record."""
    return f"{record['dataset']}/{record['kind']}/{record['label']}-{record['version']}"


@dataclass(frozen=True)
class SystemStages:
    """The stages that make one system: what trains it, what it ranks with, what scores it; BM25 has no vectors.

    Attributes:
        tokenizer: whose tokens the encoder reads.
        model: the encoder of queries.
        passage_model: the encoder of passages, which is another where the query encoder alone was trained.
    """

    run: Stage
    measure: Stage
    tokenizer: Stage | None = None
    model: Stage | None = None
    passage_model: Stage | None = None
    passages: Stage | None = None
    queries: Stage | None = None
    index: Stage | None = None


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
        made = {
            "errors": self.errors,
            "negatives": self.diagnosis,
            "agreement": self.agreement,
            "trajectory": self.trajectory,
            "movement": self.movement,
            "compression": self.compression,
            "seeds": self.seeds,
        }
        return {part for part, stages in made.items() if stages}

    @property
    def manifests(self) -> list[Path]:
        """What must be finished before the report is written."""
        stages = [*self.errors.values(), *self.diagnosis.values(), *chain.from_iterable(self.trajectory.values())]
        stages += [stage for stage in (self.agreement, self.movement) if stage is not None]
        stages += [stage for cell in self.compression for stage in (cell.built, cell.measure)]
        return list(dict.fromkeys(stage.manifest for stage in (*stages, *self.seeds.values())))


class Plan:
    """All stages of a configuration, parents first.

    Args:
        config: what to plan.
        within: configuration files of the studies that led to this one, which it must not come back to.

    Raises:
        HardnegError: files that the configuration names are missing, or a study that it draws on is wrong.
    """

    def __init__(self, config: Config, within: Sequence[Path] = ()) -> None:
        self.config = config
        self.dataset = config.collection.name
        self._within = within
        self._stages: dict[tuple[str, str, str, str], Stage] = {}
        self._studies: dict[str, Plan] = {}
        self._rounds: dict[str, list[Stage]] = {}
        self._digests = ARTIFACTS / ".digests.json"
        self._revisions = _Revisions(ARTIFACTS / ".revisions.json", PACKAGE)
        self.collection = self._collection()
        self.systems: dict[str, SystemStages] = {}
        for name in _in_order(config.systems):
            self.systems[name] = self._system(name, config.systems[name])
        self.systems = {name: self.systems[name] for name in config.systems}
        self.analyses = self._analyses()
        self.exports = {name: self._export(name) for name in config.export}
        self._revisions.save()

    # --- what the workflow asks ---

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, parents first."""
        return list(self._stages.values())

    def stage(self, dataset: str, kind: str, label: str, version: str) -> Stage:
        """The stage that a rule's wildcards name.

        Raises:
            HardnegError: no system of this configuration needs it.
        """
        try:
            return self._stages[dataset, kind, label, version]
        except KeyError:
            raise HardnegError(
                "This configuration has no such stage.",
                where=str(ARTIFACTS / dataset / kind / f"{label}-{version}"),
                remedy="`hardneg plan` lists the stages that it has.",
            ) from None

    def of(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds."""
        return [stage for stage in self.stages if stage.kind in kinds]

    @property
    def summary(self) -> dict[str, Any]:
        """What the summary and the report are made from; it changes with any version, so it is their parameter."""
        asked, made = self.config.analyses, self.analyses
        names = {name_of(stage.record): place for place, stage in enumerate(self.stages)}
        return {
            "dataset": self.dataset,
            "main_measure": self.config.evaluation.main_measure,
            "pairs": self._pairs(),
            "baselines": asked.baselines,
            "measures": [[name, str(stages.measure.manifest)] for name, stages in self.systems.items()],
            "collection": str(self.collection.manifest),
            "stages": [
                {"manifest": str(stage.manifest), "parents": [names[name_of(p.record)] for p in stage.parents.values()]}
                for stage in self.stages
            ],
            "systems": [self._described(name) for name in self.config.systems],
            "models": {
                name: str(stages.model.manifest) for name, stages in self.systems.items() if stages.model is not None
            },
            "runs": {name: str(stages.run.manifest) for name, stages in self.systems.items()},
            "exports": {name: str(stage.manifest) for name, stage in self.exports.items()},
            "relevant_grade": self.config.evaluation.relevant_grades(self.config.splits.evaluate),
            "analyses": {
                **asked.model_dump(mode="json"),
                "split": self.config.analysed_split,
                "windows": self.config.collection.windows is not None,
                "seed": self.config.seed,
            },
            "errors": [[name, str(stage.manifest)] for name, stage in made.errors.items()],
            "diagnosis": [[name, str(stage.manifest)] for name, stage in made.diagnosis.items()],
            "agreement": str(made.agreement.manifest) if made.agreement else None,
            "trajectory": [[name, str(s.manifest)] for name, stages in made.trajectory.items() for s in stages],
            "movement": str(made.movement.manifest) if made.movement else None,
            "compression": [
                {
                    "system": cell.system,
                    "trained_on": cell.trained_on.label if cell.trained_on else None,
                    "served_on": cell.served_on.label,
                    "index": str(cell.built.manifest),
                    "measure": str(cell.measure.manifest),
                }
                for cell in made.compression
            ],
            "seeds": [[name, seed, str(stage.manifest)] for (name, seed), stage in made.seeds.items()],
            "configuration": self._configuration(),
        }

    def _described(self, name: str) -> dict[str, str]:
        """A system's answers in words."""
        system = self.config.systems[name]
        row = {"system": name, "starts_from": system.from_ or "", "trains": system.trains.replace("_", " ")}
        dense, trained = system.retriever == "dense", system.trains != "nothing"
        mined = f" ({system.source.system or system.from_})" if isinstance(system.source, axes.RunSource) else ""
        row |= {"source": system.source.name + mined, "sampler": system.sampler.name, "loss": system.loss.name}
        row |= {"batch": system.batch.name if system.trains == "both_encoders" else "", "refresh": system.refresh.name}
        if not trained:
            row |= dict.fromkeys(("source", "sampler", "loss", "batch", "refresh"), "")
        row["index"] = self.config.index_of(name).label if dense or system.retriever == "vectors" else ""
        return row

    def _configuration(self) -> str:
        """The configuration, defaults and presets filled in, as YAML; without what never changes a result."""
        plain = self.config.model_dump(mode="json", by_alias=True, exclude={"runtime"})
        return yaml.safe_dump(plain, sort_keys=False)

    def _pairs(self) -> list[tuple[str, str]]:
        """Each system against BM25, what it starts from, and where both encoders train its equals.

        Equals are earlier systems that start from the same one.
        """
        pairs: dict[tuple[str, str], None] = {}
        systems = self.config.systems
        for place, (name, system) in enumerate(systems.items()):
            if system.retriever == "bm25":
                continue
            earlier = list(systems.items())[:place]
            baselines = [other for other, s in systems.items() if s.retriever == "bm25"]
            if system.from_ in systems and self.config.index_of(name) == self.config.index_of(system.from_):
                baselines.append(system.from_)
            baselines += [
                other
                for other, s in earlier
                if system.from_ and s.from_ == system.from_ and s.trains == system.trains == "both_encoders"
            ]
            pairs |= dict.fromkeys((name, baseline) for baseline in baselines)
        return list(pairs)

    @property
    def results(self) -> Path:
        """`results/<dataset>`."""
        return RESULTS / self.dataset

    def targets(self, name: str) -> list[Path]:
        """The files behind a target's name (bm25, warmup, encode, mine, star, index, adore)."""
        mines_dense = {
            stage
            for stage in self.of("train")
            if "negatives" in stage.parents and stage.parents["negatives"].parents["run"].kind == "run"
        }
        chosen = {
            "bm25": self.of("bm25_index", "bm25_run"),
            "warmup": [stage for stage in self.of("train") if stage not in mines_dense],
            "encode": self.of("passages", "queries"),
            "mine": self.of("mine"),
            "star": [stage for stage in self.of("train") if stage in mines_dense],
            "index": self.of("index"),
            "adore": self.of("adore"),
        }
        return [stage.manifest for stage in chosen[name]]

    @property
    def runtime(self) -> dict[str, Any]:
        """What scripts need and versions leave out: runtime settings and where each dataset's files lie here."""
        return {**self.config.runtime.model_dump(mode="json"), "places": self.places}

    @property
    def places(self) -> dict[str, dict[str, Any]]:
        """Where the files lie, on this machine, that stages read from outside; by the stages' names."""
        places = {name: place for study in self._studies.values() for name, place in study.places.items()}
        theirs = {name_of(stage.record) for study in self._studies.values() for stage in study.stages}
        backbone = local_backbone(self.config.encoder)
        for stage in self.stages:
            if name_of(stage.record) in theirs:  # another study's, which knows where they lie
                continue
            place: dict[str, Any] = {}
            if stage.kind == "collection":
                place["collection"] = self.config.collection.model_dump(mode="json")
            elif stage.kind in ("tokenizer", "train") and backbone is not None:
                place["backbone"] = str(backbone)
            elif stage.kind == "given_run":
                place["runs"] = _plain(self.config.systems[stage.label])["runs"]
            elif stage.kind == "given_vectors":
                place["vectors"] = _plain(self.config.systems[stage.label])["vectors"]
            if place:
                places[name_of(stage.record)] = place
        return places

    # --- building ---

    def _add(
        self, kind: str, label: str, settings: dict[str, Any], parents: dict[str, Stage], roots: Iterable[str] = ()
    ) -> Stage:
        settings = json.loads(canonical_json(settings))
        revision = self._revisions.of([*ROOTS[kind], *roots])
        stage = Stage(self.dataset, kind, label, settings, parents, revision)
        return self._stages.setdefault((self.dataset, kind, label, stage.version), stage)

    def _collection(self) -> Stage:
        collection, splits = self.config.collection, self.config.splits
        train = [splits.train] if splits.train else []
        wanted = list(dict.fromkeys([*train, *splits.evaluate]))
        settings = _without_places(_plain(collection, drop=["name", "download"]))
        settings |= {"made_from": settings.get("splits"), "splits": wanted, "train": splits.train}
        roots, parents = readers.roots(collection.model_dump(mode="json")), {}
        if isinstance(collection, PyDocsCollection):
            from hardneg.data.formats.pydocs import DISTRIBUTIONS

            settings |= {"python": platform.python_version(), "distributions": dict(DISTRIBUTIONS)}
        elif isinstance(collection, IrDatasetsCollection):  # it repairs texts: its version belongs to the data
            from hardneg.data.formats.irds import PINNED

            settings["package"] = PINNED
        elif isinstance(collection, FolderCollection) and collection.download:
            fetched = {"download": [_plain(file) for file in collection.download]}
            settings["inside"] = str(collection.path)  # here it says which of the fetched files are read
            parents["files"] = self._add("download", collection.name, fetched, {})
        else:
            files = readers.open_collection(collection.model_dump(mode="json"), splits.train).files(wanted)
            digests = {name: cached_digest(path, self._digests) for name, path in files.items()}
            # One for all: a table may come in thousands of parts, and settings travel on command lines.
            settings["files"] = hashlib.sha256(canonical_json(digests).encode()).hexdigest()
        return self._add("collection", collection.name, settings, parents, roots)

    def _study(self, name: str) -> Plan:
        """The plan of another study, whose systems this one starts from or evaluates."""
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
                    remedy=f"mend it first:\n{fault}",
                ) from None
        return self._studies[name]

    def _start(self, system: System, name: str) -> SystemStages | None:
        """What a system starts from: here, in another study, or nowhere."""
        if system.from_ is None:
            return None
        study, _, other = system.from_.rpartition(":")
        if not study:
            return self.systems[other]
        plan = self._study(study)
        if other not in plan.systems or plan.systems[other].model is None:
            raise HardnegError(
                "A study has no such trained system.",
                where=f"systems.{name}.from",
                found=system.from_,
                expected=", ".join(each for each, stages in plan.systems.items() if stages.model is not None),
                remedy="name one of these.",
            )
        return plan.systems[other]

    def _adopt(self, stage: Stage) -> Stage:
        """Take a stage of another study, and all that it needs, among the stages of this plan."""
        key = (stage.dataset, stage.kind, stage.label, stage.version)
        if key not in self._stages:
            for parent in stage.parents.values():
                self._adopt(parent)
            self._stages[key] = stage
        return self._stages[key]

    @cached_property
    def tokenizer(self) -> Stage:
        """The tokenizer: trained on the collection for `builtin:tiny`, the backbone's own otherwise."""
        encoder = self.config.encoder
        reading = {
            "passage_template": encoder.passage_template,
            "characters": encoder.characters,
            "contract": read_contract(encoder.contract) if encoder.contract else None,
        }
        if encoder.backbone == "builtin:tiny":
            size = {"vocabulary": encoder.tiny.vocabulary, "lower_case": encoder.tiny.lower_case}
            settings = {"backbone": encoder.backbone, **size, **reading}
            return self._add("tokenizer", "tiny", settings, {"collection": self.collection})
        reading |= {"lower_case": encoder.lower_case, "prefix_space": encoder.prefix_space}
        return self._add("tokenizer", "backbone", {**self._backbone(), **reading}, {})

    def _tokens(self, tokenizer: Stage) -> Stage:
        """Token ids of all texts, made once for all systems that share a tokenizer."""
        encoder = self.config.encoder
        settings = {
            "query_length": encoder.query_length,
            "passage_length": encoder.passage_length,
            "passage_template": encoder.passage_template,
            "characters": encoder.characters,
        }
        label = "all" if tokenizer.dataset == self.dataset else tokenizer.dataset
        return self._add("tokens", label, settings, {"collection": self.collection, "tokenizer": tokenizer})

    def _backbone(self) -> dict[str, Any]:
        encoder = self.config.encoder
        folder = local_backbone(encoder)
        if folder is None:
            return {
                "backbone": encoder.backbone,
                "revision": encoder.revision,
                "trust_remote_code": encoder.trust_remote_code,
            }
        files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model"))
        digests = {path.name: cached_digest(path, self._digests) for path in files}
        return {"backbone": "local", "files": digests, "trust_remote_code": encoder.trust_remote_code}

    def _encoder(self) -> dict[str, Any]:
        encoder = self.config.encoder
        settings = _plain(
            encoder,
            drop=["backbone", "revision", "trust_remote_code", "tiny", "query_length", "passage_length", *READING],
        )
        if encoder.backbone == "builtin:tiny":
            size = _plain(encoder.tiny, drop=("vocabulary", "lower_case"))
            return {**settings, "backbone": encoder.backbone, "tiny": size}
        return {**settings, **self._backbone()}

    @cached_property
    def bm25_index(self) -> Stage:
        """The Lucene index."""
        settings = {"passage_template": self.config.bm25.passage_template}
        return self._add("bm25_index", "lucene", settings, {"collection": self.collection})

    def _system(self, name: str, system: System) -> SystemStages:
        evaluate, depth = list(self.config.splits.evaluate), self.config.evaluation.depth
        made: dict[str, Stage] = {}
        if system.retriever == "bm25":
            run = self._bm25_run(name, evaluate, depth)
        elif system.retriever == "run":
            run = self._given_run(name, system, evaluate, depth)
        else:
            if system.retriever == "vectors":
                made = self._given_vectors(name, system)
            elif system.trains == "query_encoder":
                made = self._query_encoder(name, system)
            elif system.trains == "both_encoders":
                made = self._dual_encoder(name, system)
            else:
                made = self._untrained(name, system)
            run = self._dense_run(name, made, self.config.index_of(name))
        return SystemStages(run=run, measure=self._measure(name, run), **made)

    def _dense_run(self, label: str, made: dict[str, Stage], index: Index) -> Stage:
        """The ranking of the evaluated splits, from the index in `made`, which is of the kind `index`."""
        settings = self._searched(list(self.config.splits.evaluate), self.config.evaluation.depth, index)
        return self._add("run", label, settings, {role: made[role] for role in ("passages", "index", "queries")})

    def _measure(self, label: str, run: Stage) -> Stage:
        evaluation = self.config.evaluation
        grades = evaluation.relevant_grades(self.config.splits.evaluate)
        settings = {"measures": evaluation.measures, "relevant_grade": grades}
        return self._add("measure", label, settings, {"collection": self.collection, "run": run})

    def _searched(self, splits: list[str], depth: int, index: Index | None = None) -> dict[str, Any]:
        """Settings of a search; without an index it is exact."""
        return {
            "splits": splits,
            "depth": depth,
            "search": _search_of(index),
            "threads": self.config.arithmetic.encoding_threads,
        }

    def _bm25_run(self, name: str, splits: list[str], depth: int) -> Stage:
        settings = {**_plain(self.config.bm25, drop=["passage_template"]), "splits": splits, "depth": depth}
        return self._add("bm25_run", name, settings, {"collection": self.collection, "index": self.bm25_index})

    def _given_run(self, name: str, system: System, splits: list[str], depth: int) -> Stage:
        """A ranking made elsewhere."""
        files = {split: self._digest(system.runs[split], f"systems.{name}.runs.{split}") for split in splits}
        settings = {"splits": splits, "depth": depth, "files": files}
        return self._add("given_run", name, settings, {"collection": self.collection})

    def _given_vectors(self, name: str, system: System) -> dict[str, Stage]:
        """Vectors made elsewhere, of passages and of queries."""
        given, at = system.vectors, f"systems.{name}.vectors"
        assert given is not None
        splits = list(self.config.splits.evaluate)
        settings: dict[str, Any] = {
            "splits": splits,
            "passages": [self._digest(path, f"{at}.passages") for path in given.passages],
            "queries": {split: self._digest(given.queries[split], f"{at}.queries.{split}") for split in splits},
        }
        if given.passage_ids is not None:
            settings["passage_ids"] = self._digest(given.passage_ids, f"{at}.passage_ids")
        if given.query_ids:
            settings["query_ids"] = {
                split: self._digest(path, f"{at}.query_ids.{split}")
                for split, path in given.query_ids.items()
                if split in splits
            }
        vectors = self._add("given_vectors", name, settings, {"collection": self.collection})
        return {
            "passages": vectors,
            "queries": vectors,
            "index": self._index(name, vectors, self.config.index_of(name)),
        }

    def _digest(self, path: Path, key: str) -> str:
        if not path.is_file():
            raise HardnegError(
                "A file that the configuration names is missing.",
                where=key,
                found=str(path),
                expected="an existing file",
                remedy="correct the path; it counts from the folder where snakemake runs.",
            )
        return cached_digest(path, self._digests)

    def _base(self, name: str, system: System, encoded: bool) -> dict[str, Stage]:
        """What a system starts from; nothing where it starts from none.

        Args:
            name: of the system.
            system: its answers.
            encoded: whether vectors of this collection's passages are needed, which another study has not.
        """
        start = self._start(system, name)
        if start is None:
            return {}
        assert system.from_ is not None
        if ":" not in system.from_:
            made = _there(vars(start))
            return {role: stage for role, stage in made.items() if role not in ("run", "measure")}
        assert start.tokenizer is not None and start.model is not None and start.passage_model is not None
        label = system.from_.replace(":", ".")
        base = {"tokenizer": self._adopt(start.tokenizer), "passage_model": self._adopt(start.passage_model)}
        if encoded:
            base |= self._encoded(label, base["tokenizer"], base["passage_model"])
        return {**base, "model": self._adopt(start.model)}

    def _untrained(self, name: str, system: System) -> dict[str, Stage]:
        """Another system as it is: another study's on this collection, or one of this study with another index."""
        base = self._base(name, system, encoded=True)
        index = self._index(base["passages"].label, base["passages"], self.config.index_of(name))
        if "queries" not in base:
            base["queries"] = self._queries(name, base["tokenizer"], base["model"], list(self.config.splits.evaluate))
        return {**base, "index": index}

    def _dual_encoder(self, name: str, system: System) -> dict[str, Stage]:
        source = system.source
        mines_it = isinstance(source, axes.SelfSource) or (isinstance(source, axes.RunSource) and not source.system)
        base = self._base(name, system, encoded=mines_it)
        tokenizer = base.get("tokenizer") or self.tokenizer
        rounds = system.refresh.rounds if isinstance(system.refresh, axes.Rounds) else 1
        made: dict[str, Stage] = {}
        for number in range(1, rounds + 1):
            label = name if number == rounds else f"{name}.{number}"
            parents = {"collection": self.collection, "tokenizer": tokenizer, "tokens": self._tokens(tokenizer)}
            if number > 1:
                parents["continues"] = made["model"]
            elif base:
                parents["init"] = base["model"]
            if isinstance(system.source, axes.RunSource | axes.SelfSource):
                parents["negatives"] = self._negatives(system, made or base)
            settings = {
                **self._trained(system),
                "encoder": _encoder_of(base["model"]) if base else self._encoder(),
                "source": {"name": system.source.name},
                "sampler": _plain(system.sampler),
                "batch": _plain(system.batch),
                "refresh": _plain(system.refresh),
                "round": number,
            }
            roots = [
                answer.implemented_by
                for answer in (system.source, system.sampler, system.refresh, system.loss, system.batch)
            ]
            made = self._encoded(label, tokenizer, self._add("train", label, settings, parents, roots))
        queries = self._queries(name, tokenizer, made["model"], list(self.config.splits.evaluate))
        index = self._index(name, made["passages"], self.config.index_of(name))
        return {**made, "queries": queries, "index": index}

    def _trained(self, system: System) -> dict[str, Any]:
        arithmetic = self.config.arithmetic
        return {
            "loss": _plain(system.loss),
            "train": _plain(system.train),
            "seed": self.config.seed,
            "split": self.config.splits.train,
            "threads": arithmetic.training_threads,
            "precision": arithmetic.precision,
        }

    def _encoded(self, label: str, tokenizer: Stage, model: Stage) -> dict[str, Stage]:
        arithmetic = self.config.arithmetic
        settings = {
            "threads": arithmetic.encoding_threads,
            "precision": arithmetic.precision,
            "dtype": arithmetic.vectors,
        }
        passages = self._add("passages", label, settings, {"model": model, "tokens": self._tokens(tokenizer)})
        return {"tokenizer": tokenizer, "model": model, "passage_model": model, "passages": passages}

    def _queries(self, label: str, tokenizer: Stage, model: Stage, splits: list[str]) -> Stage:
        arithmetic = self.config.arithmetic
        settings = {"threads": arithmetic.encoding_threads, "precision": arithmetic.precision, "splits": splits}
        return self._add("queries", label, settings, {"model": model, "tokens": self._tokens(tokenizer)})

    def _index(self, label: str, passages: Stage, index: Index) -> Stage:
        settings = {**_plain(index, drop=SEARCHED), "threads": self.config.arithmetic.encoding_threads}
        return self._add("index", label, settings, {"passages": passages})

    def _negatives(self, system: System, latest: dict[str, Stage]) -> Stage:
        """Candidates for training: a ranking of the training queries, less judged positives, filtered.

        Args:
            system: whose candidates.
            latest: the system's last round, or what it starts from.
        """
        source, train = system.source, self.config.splits.train
        assert isinstance(source, axes.RunSource | axes.SelfSource) and train is not None
        mined = source.system if isinstance(source, axes.RunSource) else None
        other = self.config.systems[mined] if mined else None
        if mined and other and other.retriever == "bm25":
            run = self._bm25_run(mined, [train], source.depth)
        elif mined and other and other.retriever == "run":
            run = self._given_run(mined, other, [train], source.depth)
        else:
            encoded = vars(self.systems[mined]) if mined else latest
            label = mined or encoded["model"].label
            run = self._add(
                "run",
                label,
                self._searched([train], source.depth),
                {
                    "passages": encoded["passages"],
                    "queries": self._queries(label, encoded["tokenizer"], encoded["model"], [train]),
                },
            )
        settings = {"filter": _plain(system.filter), "split": train}
        return self._add(
            "mine", run.label, settings, {"collection": self.collection, "run": run}, [system.filter.implemented_by]
        )

    def _query_encoder(self, name: str, system: System) -> dict[str, Stage]:
        base = self._base(name, system, encoded=True)
        chosen, source = self.config.index_of(name), system.source
        index = self._index(base["passages"].label, base["passages"], chosen)
        probes = self.config.analyses.probes
        probed = probes is not None and name in probes.systems
        rounds = system.refresh.rounds if isinstance(system.refresh, axes.Rounds) else 1
        roots = [answer.implemented_by for answer in (source, system.sampler, system.refresh, system.loss)]
        self._rounds[name] = []
        for number in range(1, rounds + 1):
            parents = {
                "collection": self.collection,
                "tokens": self._tokens(base["tokenizer"]),
                "init": base["model"],
                "passages": base["passages"],
                "index": index,
            }
            latest = base
            if self._rounds[name]:
                parents["continues"] = self._rounds[name][-1]
                latest = {**base, "model": parents["continues"]}
            if isinstance(source, axes.RunSource | axes.SelfSource):
                parents["negatives"] = self._negatives(system, latest)
            settings = {
                **self._trained(system),
                "source": _plain(source) if source.live else {"name": source.name},
                "sampler": _plain(system.sampler),
                "refresh": _plain(system.refresh),
                "round": number,
                "search": _search_of(chosen),
                "probe": {"every": probes.every, "split": self.config.analysed_split} if probes and probed else None,
            }
            label = name if number == rounds else f"{name}.{number}"
            self._rounds[name].append(self._add("adore", label, settings, parents, roots))
        model = self._rounds[name][-1]
        queries = self._queries(name, base["tokenizer"], model, list(self.config.splits.evaluate))
        return {**base, "model": model, "queries": queries, "index": index}

    # --- what the report looks into ---

    def _analyses(self) -> Analysed:
        asked = self.config.analyses
        dense = {name: stages for name, stages in self.systems.items() if stages.passages is not None}
        made = Analysed()
        if asked.errors is not None and self.config.collection.windows is None:  # passages are counted, not documents
            made.errors = {name: self._errors(name, stages, asked.errors.k) for name, stages in dense.items()}
        if asked.negatives is not None:
            trained = [name for name, system in self.config.systems.items() if system.trains != "nothing"]
            made.diagnosis = {name: self._diagnosis(name, asked.negatives.teacher) for name in trained}
        if asked.agreement is not None:
            runs = {f"run.{name}": stages.run for name, stages in self.systems.items()}
            settings = {**_plain(asked.agreement), **self._looked_at()}
            made.agreement = self._add("agreement", self.dataset, settings, {"collection": self.collection, **runs})
        if asked.probes is not None:
            made.trajectory = {
                name: [self._trajectory(name, model, asked.probes.k) for model in self._rounds[name]]
                for name in asked.probes.systems
            }
        if asked.movement is not None:
            name = asked.movement.system
            settings = {**_plain(asked.movement, drop=["system"]), **self._looked_at(), "seed": self.config.seed}
            settings["threads"] = self.config.arithmetic.encoding_threads
            parents = {"collection": self.collection, "passages": self.systems[name].passages}
            parents["model"] = self._rounds[name][-1]
            made.movement = self._add("movement", name, settings, _there(parents))
        if asked.compression is not None:
            made.compression = self._compression(asked.compression.base, asked.compression.systems)
        if asked.seeds is not None:
            for seed in asked.seeds.more:
                again = self.config.model_copy(
                    update={
                        "seed": seed,
                        "analyses": self.config.analyses.model_copy(update=ONLY_SYSTEMS),
                        "export": (),
                    }
                )
                other = Plan(again, self._within)
                made.seeds |= {(name, seed): self._adopt(other.systems[name].measure) for name in asked.seeds.systems}
                for name in asked.seeds.systems:
                    self._adopt(other.systems[name].run)
        return made

    def _looked_at(self) -> dict[str, Any]:
        """The split that analyses look at, and its lowest relevant grade."""
        split = self.config.analysed_split
        return {"split": split, "relevant_grade": self.config.evaluation.relevant_grades([split])[split]}

    def _errors(self, name: str, stages: SystemStages, k: int) -> Stage:
        settings = {**self._looked_at(), "k": k, "threads": self.config.arithmetic.encoding_threads}
        parents = {"collection": self.collection, "passages": stages.passages, "queries": stages.queries}
        return self._add("errors", name, settings, _there(parents))

    def _diagnosis(self, name: str, teacher: str | None) -> Stage:
        train = self.config.splits.train
        assert train is not None
        model = self.systems[name].model
        assert model is not None
        parents: dict[str, Stage | None] = {"collection": self.collection, "model": model}
        if (negatives := model.parents.get("negatives")) is not None:
            parents |= {"run": negatives.parents["run"], "negatives": negatives}
            if teacher is not None:
                judge = self.systems[teacher]
                assert judge.tokenizer is not None and judge.model is not None
                parents["teacher_passages"] = judge.passages
                parents["teacher_queries"] = self._queries(teacher, judge.tokenizer, judge.model, [train])
        settings = {"split": train, "threads": self.config.arithmetic.encoding_threads}
        return self._add("diagnosis", name, settings, _there(parents))

    def _trajectory(self, name: str, model: Stage, k: int) -> Stage:
        evaluation, index = self.config.evaluation, self.config.index_of(name)
        settings = {**self._looked_at(), "k": k, "measures": evaluation.measures, "depth": evaluation.depth}
        settings |= {"search": _search_of(index), "threads": self.config.arithmetic.encoding_threads}
        parents = {role: model.parents.get(role) for role in ("collection", "passages", "index", "negatives")}
        return self._add("trajectory", model.label, settings, _there({**parents, "model": model}))

    def _compression(self, base: str, systems: Sequence[str]) -> list[Cell]:
        """Every system, and the base, on every index that one of them was trained on."""
        cells, indexes = [], {name: self.config.index_of(name) for name in systems}
        for name in (base, *systems):
            stages = self.systems[name]
            assert stages.passages is not None and stages.queries is not None
            for index in dict.fromkeys(indexes.values()):
                built = self._index(stages.passages.label, stages.passages, index)
                made = {"passages": stages.passages, "index": built, "queries": stages.queries}
                label = f"{name}.on.{re.sub(r'[^A-Za-z0-9]+', '-', index.factory)}"
                measure = self._measure(label, self._dense_run(label, made, index))
                cells.append(Cell(name, indexes.get(name), index, built, measure))
        return cells

    def _export(self, name: str) -> Stage:
        """A system in the layouts of other tools."""
        stages, evaluation = self.systems[name], self.config.evaluation
        settings = {
            "system": name,
            "splits": list(self.config.splits.evaluate),
            "measures": evaluation.measures,
            "search": _search_of(self.config.index_of(name)),
            "about": {"systems": self._chain(name), "format": self.config.collection.format},
        }
        parents = {role: getattr(stages, role) for role in EXPORTED}
        if stages.tokenizer is not None:
            parents["tokens"] = self._tokens(stages.tokenizer)
        return self._add("export", name, settings, _there({"collection": self.collection, **parents}))

    def _chain(self, name: str) -> dict[str, Any]:
        """A system's answers, and those of the systems it starts from and mines; the nearest first."""
        system = self.config.systems[name]
        answers = {name: system.model_dump(mode="json", by_alias=True, exclude={"runs", "vectors"})}
        for other in (system.from_, getattr(system.source, "system", None)):
            if other in self.config.systems:
                answers |= self._chain(other)
        return answers


class _Revisions:
    """Revisions of this package's code, computed once for each state of its sources: every start asks for dozens.

    Args:
        cache: where they are kept; they are computed again when a source, or the version of Python, changed.
        package: the package's folder.
    """

    def __init__(self, cache: Path, package: Path) -> None:
        self._cache, self._package = cache, package
        sources = hashlib.sha256(sys.version.encode())
        for path in sorted(package.rglob("*.py")):
            sources.update(f"\n{path.relative_to(package)}\n".encode() + path.read_bytes())
        self._state = sources.hexdigest()
        try:
            content = json.loads(cache.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            content = {}
        self._known: dict[str, str] = content["revisions"] if content.get("sources") == self._state else {}
        self._added = False

    def of(self, roots: Iterable[str]) -> str:
        """`code_revision` of some roots."""
        key = " ".join(sorted(roots))
        if key not in self._known:
            self._known[key] = code_revision(key.split(), self._package)
            self._added = True
        return self._known[key]

    def save(self) -> None:
        """Keep what was computed since the last time."""
        if self._added:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._cache, {"sources": self._state, "revisions": self._known})
            self._added = False


def local_backbone(encoder: Encoder) -> Path | None:
    """The folder of a local backbone, or None for the built-in one and for names on the hub.

    Raises:
        HardnegError: it looks like a path, and there is no usable model there.
    """
    name = encoder.backbone
    if name == "builtin:tiny":
        return None
    folder = Path(name).expanduser()
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not folder.exists() and not looks_local:
        if name.startswith("builtin:"):
            raise HardnegError(
                "Unknown built-in encoder.",
                where="encoder.backbone",
                found=name,
                expected="builtin:tiny",
                remedy="did you mean builtin:tiny?",
            )
        return None
    needs = "a folder with config.json, tokenizer files and model.safetensors"
    if not folder.is_dir():
        raise HardnegError(
            "The encoder's folder does not exist.",
            where="encoder.backbone",
            found=name,
            expected=needs,
            remedy="correct the path.",
        )
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"
        raise HardnegError(
            "The encoder's folder holds no usable model.",
            where=f"encoder.backbone: {name}",
            found=found,
            expected=needs,
            remedy="save the model with `save_pretrained(..., safe_serialization=True)`; pickled weights are not read.",
        )
    return folder


def _plain(model: Model | axes.Answer, drop: Sequence[str] = ()) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude=set(drop))


def _search_of(index: Index | None) -> dict[str, Any]:
    """How an index is searched: not how it is built, so that another nprobe builds nothing again."""
    return {key: getattr(index, key, None) for key in SEARCHED}


def _there(parents: Mapping[str, Stage | None]) -> dict[str, Stage]:
    return {role: stage for role, stage in parents.items() if stage is not None}


def _encoder_of(model: Stage) -> dict[str, Any]:
    """The encoder's settings that a trained model was made with, which what starts from it keeps."""
    while model.kind != "train":  # a query encoder that was trained alone
        model = model.parents["init"]
    settings: dict[str, Any] = model.settings["encoder"]
    return settings


def _without_places(value: Any) -> Any:
    """Settings without paths, which say where a file lies on this machine; digests say what is in it."""
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items() if key != "path"}
    return value


def _in_order(systems: dict[str, System]) -> Iterator[str]:
    """System names, those that others start from or mine first; otherwise in the order given."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        system = systems[name]
        for other in (system.from_, getattr(system.source, "system", None)):
            if other in systems:
                yield from visit(other)
        yield name

    for name in systems:
        yield from visit(name)
