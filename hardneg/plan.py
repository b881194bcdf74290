"""From a configuration to stages, their versions and their folders.

A stage's version digests its validated scientific settings, its parents' versions and the code it reaches (its
revision). Runtime settings stay out, so that moving data, adding shards or changing devices keeps every version.
Nothing here imports torch: Snakemake evaluates the plan at every start.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hardneg import axes
from hardneg.artifacts import MANIFEST, cached_digest, canonical_json
from hardneg.config import BeirCollection, Config, Encoder, Model, PyDocsCollection, System
from hardneg.errors import HardnegError
from hardneg.revision import code_revision

ARTIFACTS = Path("artifacts")
RESULTS = Path("results")

ARITHMETIC = "hardneg.devices:set_arithmetic_threads"
TEXT_TO_VECTOR = ("hardneg.encoder:Encoder", "hardneg.tokens:TokenStore")

# What each kind of stage runs. The answers of a system's axes come on top.
ROOTS: dict[str, tuple[str, ...]] = {
    "collection": ("hardneg.data.prepare:prepare",),
    "tokenizer": ("hardneg.tokens:make_tokenizer",),
    "tokens": ("hardneg.tokens:tokenize",),
    "bm25_index": ("hardneg.lexical:build_index", "hardneg.tokens:passage_texts"),
    "bm25_run": ("hardneg.lexical:search", "hardneg.tokens:query_texts", "hardneg.runs:write_run"),
    "mine": ("hardneg.negatives.mine:mine", "hardneg.data.judgements:Judgements"),
    "train": ("hardneg.training.dual_encoder:train", ARITHMETIC),
    "passages": ("hardneg.embedding:encode_passages", "hardneg.embedding:shard_rows", *TEXT_TO_VECTOR, ARITHMETIC),
    "queries": ("hardneg.embedding:encode_queries", *TEXT_TO_VECTOR, ARITHMETIC),
    "index": ("hardneg.search.index:build_index", "hardneg.search.retrieve:vectors_of"),
    "run": (
        "hardneg.search.retrieve:retrieve",
        "hardneg.search.retrieve:open_searcher",
        "hardneg.runs:write_run",
        ARITHMETIC,
    ),
    "adore": ("hardneg.training.query_encoder:train", ARITHMETIC),
    "measure": (
        "hardneg.measures:evaluate",
        "hardneg.measures:parse_measures",
        "hardneg.runs:read_run",
        "hardneg.runs:write_trec",
    ),
}
READERS = {"pydocs": "hardneg.data.pydocs:PyDocs", "beir": "hardneg.data.beir:Beir"}


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
        return ARTIFACTS / self.dataset / self.kind / f"{self.label}-{self.version}"

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


@dataclass(frozen=True)
class SystemStages:
    """The stages that make one system: what trains it, what it ranks with, what scores it; BM25 has no vectors."""

    run: Stage
    measure: Stage
    model: Stage | None = None
    passages: Stage | None = None
    queries: Stage | None = None
    index: Stage | None = None


class Plan:
    """All stages of a configuration, parents first.

    Raises:
        HardnegError: files that the configuration names are missing.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dataset = config.collection.name
        self._stages: dict[tuple[str, str, str], Stage] = {}
        self._digests = ARTIFACTS / ".digests.json"
        self.collection = self._collection()
        self.systems: dict[str, SystemStages] = {}
        for name in _in_order(config.systems):
            self.systems[name] = self._system(name, config.systems[name])
        self.systems = {name: self.systems[name] for name in config.systems}

    # --- what the workflow asks ---

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, parents first."""
        return list(self._stages.values())

    def stage(self, kind: str, label: str, version: str) -> Stage:
        """The stage that a rule's wildcards name.

        Raises:
            HardnegError: no system of this configuration needs it.
        """
        try:
            return self._stages[kind, label, version]
        except KeyError:
            raise HardnegError(
                "This configuration has no such stage.",
                where=str(ARTIFACTS / self.dataset / kind / f"{label}-{version}"),
                remedy="`hardneg plan` lists the stages that it has.",
            ) from None

    def of(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds."""
        return [stage for stage in self.stages if stage.kind in kinds]

    @property
    def summary(self) -> dict[str, Any]:
        """What the summary and the report are made from; it changes with any version, so it is their parameter."""
        rows = []
        for name, system in self.config.systems.items():
            row = {"system": name, "starts from": system.from_ or "", "trains": system.trains.replace("_", " ")}
            if system.retriever == "dense":
                mined = (
                    f" ({system.source.system or system.from_})" if isinstance(system.source, axes.RunSource) else ""
                )
                row |= {"source": system.source.name + mined, "sampler": system.sampler.name, "loss": system.loss.name}
                row |= {
                    "batch": system.batch.name if system.trains == "both_encoders" else "",
                    "refresh": system.refresh.name,
                }
            else:
                row |= dict.fromkeys(("source", "sampler", "loss", "batch", "refresh"), "")
            rows.append(row)
        return {
            "dataset": self.dataset,
            "main_measure": self.config.evaluation.main_measure,
            "pairs": self._pairs(),
            "measures": [[name, str(stages.measure.manifest)] for name, stages in self.systems.items()],
            "collection": str(self.collection.manifest),
            "stages": [str(stage.manifest) for stage in self.stages],
            "systems": rows,
            "relevant_grade": self.config.evaluation.relevant_grade,
            "command": f"snakemake --cores all --configfile this.yaml\n\n# this.yaml\n{self._configuration()}",
        }

    def _configuration(self) -> str:
        """The configuration, defaults and presets filled in, as YAML; without what never changes a result."""
        plain = self.config.model_dump(mode="json", by_alias=True, exclude={"runtime"})
        return yaml.safe_dump(plain, sort_keys=False)

    def _pairs(self) -> list[tuple[str, str]]:
        """Each dense system against BM25, what it starts from, and earlier systems that start from the same one."""
        pairs: dict[tuple[str, str], None] = {}
        systems = self.config.systems
        for place, (name, system) in enumerate(systems.items()):
            if system.retriever == "bm25":
                continue
            earlier = list(systems.items())[:place]
            baselines = [other for other, s in systems.items() if s.retriever == "bm25"]
            baselines += [system.from_] if system.from_ else []
            baselines += [
                other for other, s in earlier if system.from_ and s.from_ == system.from_ and s.trains == system.trains
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
        """What scripts need and versions leave out: runtime settings and where files lie on this machine."""
        places: dict[str, str] = {}
        if isinstance(self.config.collection, BeirCollection):
            places["collection"] = str(self.config.collection.path)
        if (folder := local_backbone(self.config.encoder)) is not None:
            places["backbone"] = str(folder)
        return {**self.config.runtime.model_dump(mode="json"), "places": places}

    # --- building ---

    def _add(
        self, kind: str, label: str, settings: dict[str, Any], parents: dict[str, Stage], roots: Iterable[str] = ()
    ) -> Stage:
        settings = json.loads(canonical_json(settings))
        revision = code_revision([*ROOTS[kind], *roots])
        stage = Stage(self.dataset, kind, label, settings, parents, revision)
        return self._stages.setdefault((kind, label, stage.version), stage)

    def _collection(self) -> Stage:
        collection, splits = self.config.collection, self.config.splits
        wanted = list(dict.fromkeys([splits.train, *splits.evaluate]))
        settings: dict[str, Any] = {"format": collection.format, "splits": wanted, "train": splits.train}
        if isinstance(collection, PyDocsCollection):
            from hardneg.data.pydocs import DISTRIBUTIONS

            settings |= {"python": platform.python_version(), "distributions": dict(DISTRIBUTIONS)}
        else:
            from hardneg.data.beir import Beir

            files = Beir(collection.path).files(wanted)
            settings["files"] = {name: cached_digest(path, self._digests) for name, path in files.items()}
        return self._add("collection", collection.name, settings, {}, [READERS[collection.format]])

    @cached_property
    def tokenizer(self) -> Stage:
        """The tokenizer: trained on the collection for `builtin:tiny`, the backbone's own otherwise."""
        encoder = self.config.encoder
        if encoder.backbone == "builtin:tiny":
            settings = {
                "backbone": encoder.backbone,
                "vocabulary": encoder.tiny.vocabulary,
                "lower_case": encoder.tiny.lower_case,
            }
            return self._add("tokenizer", "tiny", settings, {"collection": self.collection})
        return self._add("tokenizer", "backbone", self._backbone(), {})

    @cached_property
    def tokens(self) -> Stage:
        """Token ids of all texts, made once for all systems."""
        encoder = self.config.encoder
        settings = {"query_length": encoder.query_length, "passage_length": encoder.passage_length}
        return self._add("tokens", "all", settings, {"collection": self.collection, "tokenizer": self.tokenizer})

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
            encoder, drop=("backbone", "revision", "trust_remote_code", "tiny", "query_length", "passage_length")
        )
        if encoder.backbone == "builtin:tiny":
            size = _plain(encoder.tiny, drop=("vocabulary", "lower_case"))
            return {**settings, "backbone": encoder.backbone, "tiny": size}
        return {**settings, **self._backbone()}

    @cached_property
    def bm25_index(self) -> Stage:
        """The Lucene index."""
        return self._add("bm25_index", "lucene", {}, {"collection": self.collection})

    def _system(self, name: str, system: System) -> SystemStages:
        evaluate, depth = list(self.config.splits.evaluate), self.config.evaluation.depth
        if system.retriever == "bm25":
            made: dict[str, Stage] = {}
            run = self._bm25_run(name, evaluate, depth)
        else:
            made = (
                self._query_encoder(name, system)
                if system.trains == "query_encoder"
                else self._dual_encoder(name, system)
            )
            run = self._add(
                "run",
                name,
                {"splits": evaluate, "depth": depth, "threads": self.config.arithmetic.encoding_threads},
                {"index": made["index"], "queries": made["queries"]},
            )
        evaluation = self.config.evaluation
        settings = {"measures": evaluation.measures, "relevant_grade": evaluation.relevant_grade}
        return SystemStages(
            run=run, measure=self._add("measure", name, settings, {"collection": self.collection, "run": run}), **made
        )

    def _bm25_run(self, name: str, splits: list[str], depth: int) -> Stage:
        settings = {**_plain(self.config.bm25), "splits": splits, "depth": depth}
        return self._add("bm25_run", name, settings, {"collection": self.collection, "index": self.bm25_index})

    def _dual_encoder(self, name: str, system: System) -> dict[str, Stage]:
        start = self.systems[system.from_] if system.from_ else None
        rounds = system.refresh.rounds if isinstance(system.refresh, axes.Rounds) else 1
        made: dict[str, Stage] = {}
        for number in range(1, rounds + 1):
            label = name if number == rounds else f"{name}.{number}"
            parents = {"collection": self.collection, "tokenizer": self.tokenizer, "tokens": self.tokens}
            if number > 1:
                parents["continues"] = made["model"]
            elif start is not None and start.model is not None:
                parents["init"] = start.model
            if isinstance(system.source, axes.RunSource | axes.SelfSource):
                parents["negatives"] = self._negatives(system, made)
            settings = {
                **self._trained(system),
                "encoder": self._encoder(),
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
            made = self._encoded(label, self._add("train", label, settings, parents, roots))
        queries = self._queries(name, made["model"], list(self.config.splits.evaluate))
        return {**made, "queries": queries, "index": self._index(name, made["passages"])}

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

    def _encoded(self, label: str, model: Stage) -> dict[str, Stage]:
        arithmetic = self.config.arithmetic
        settings = {
            "threads": arithmetic.encoding_threads,
            "precision": arithmetic.precision,
            "dtype": arithmetic.vectors,
        }
        passages = self._add("passages", label, settings, {"model": model, "tokens": self.tokens})
        return {"model": model, "passages": passages}

    def _queries(self, label: str, model: Stage, splits: list[str]) -> Stage:
        arithmetic = self.config.arithmetic
        settings = {"threads": arithmetic.encoding_threads, "precision": arithmetic.precision, "splits": splits}
        return self._add("queries", label, settings, {"model": model, "tokens": self.tokens})

    def _index(self, label: str, passages: Stage) -> Stage:
        return self._add("index", label, _plain(self.config.index), {"passages": passages})

    def _negatives(self, system: System, made: dict[str, Stage]) -> Stage:
        """Candidates for training: a ranking of the training queries, less judged positives, filtered."""
        source, train = system.source, self.config.splits.train
        assert isinstance(source, axes.RunSource | axes.SelfSource)
        mined = source.system if isinstance(source, axes.RunSource) and source.system else system.from_
        assert mined is not None
        if not made and self.config.systems[mined].retriever == "bm25":
            run = self._bm25_run(mined, [train], source.depth)
        else:
            label = made["model"].label if made else mined
            encoded = made or vars(self.systems[mined])
            run = self._add(
                "run",
                label,
                {"splits": [train], "depth": source.depth, "threads": self.config.arithmetic.encoding_threads},
                {"passages": encoded["passages"], "queries": self._queries(label, encoded["model"], [train])},
            )
        settings = {"filter": _plain(system.filter), "split": train}
        return self._add(
            "mine", run.label, settings, {"collection": self.collection, "run": run}, [system.filter.implemented_by]
        )

    def _query_encoder(self, name: str, system: System) -> dict[str, Stage]:
        assert system.from_ is not None
        base = self.systems[system.from_]
        assert base.model is not None and base.passages is not None and base.index is not None
        settings = {**self._trained(system), "source": _plain(system.source)}
        parents = {
            "collection": self.collection,
            "tokens": self.tokens,
            "init": base.model,
            "passages": base.passages,
            "index": base.index,
        }
        model = self._add("adore", name, settings, parents, [system.source.implemented_by, system.loss.implemented_by])
        queries = self._queries(name, model, list(self.config.splits.evaluate))
        return {"model": model, "passages": base.passages, "queries": queries, "index": base.index}


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


def _in_order(systems: dict[str, System]) -> Iterator[str]:
    """System names, those that others start from or mine first; otherwise in the order given."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        system = systems[name]
        for other in (system.from_, getattr(system.source, "system", None)):
            if other is not None:
                yield from visit(other)
        yield name

    for name in systems:
        yield from visit(name)
