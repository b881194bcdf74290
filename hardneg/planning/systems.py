"""The stages of each system: what it starts from, what trains it, what it ranks with, what scores it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hardneg.config import Config, System
from hardneg.config.checks.references import references
from hardneg.config.export import NegativesExport
from hardneg.errors import HardnegError
from hardneg.planning.inputs import plain
from hardneg.planning.shared import Shared
from hardneg.planning.training import Roles, Trainings
from hardneg.stages.kinds import TRAINS
from hardneg.stages.stage import Stage


@dataclass(frozen=True)
class SystemStages:
    """The stages that make one system; BM25 has no vectors, and what reorders has none either.

    Attributes:
        run: its ranking.
        measure: its scores.
        tokenizer: whose tokens the model reads.
        model: the encoder of queries, the cross-encoder or the late interaction.
        passage_model: the encoder of passages, which is another where the query encoder alone was trained.
        passages: the passage vectors.
        queries: the vectors of the evaluated queries.
        index: what serves it.
    """

    run: Stage
    measure: Stage
    tokenizer: Stage | None = None
    model: Stage | None = None
    passage_model: Stage | None = None
    passages: Stage | None = None
    queries: Stage | None = None
    index: Stage | None = None

    @property
    def roles(self) -> Roles:
        """What there is of them, by role, without the run and its scores."""
        return {
            role: stage for role, stage in vars(self).items() if stage is not None and role not in ("run", "measure")
        }


class Systems:
    """Plans the systems of a configuration, those first that others build on.

    Args:
        config: what to plan.
        shared: stages that systems share.
        start_of: the stages of another study's system, by `study:system` and the key that names it.
    """

    def __init__(self, config: Config, shared: Shared, start_of: Callable[[str, str], SystemStages]) -> None:
        self._config, self._shared, self._start_of = config, shared, start_of
        self._trainings = Trainings(config, shared, self._training_run, lambda name: self.stages[name].roles)
        self.stages: dict[str, SystemStages] = {}
        self.rounds: dict[str, list[Stage]] = {}
        """The training stages of each system, one a round."""
        for name in in_order(config.systems):
            self.stages[name] = self._system(name, config.systems[name])
        self.stages = {name: self.stages[name] for name in config.systems}

    def _system(self, name: str, system: System) -> SystemStages:
        evaluate, depth = self._shared.evaluated, self._config.evaluation.depth
        roles: Roles = {}
        match system.retriever:
            case "bm25":
                run = self._shared.bm25_run(name, evaluate, depth)
            case "deepct":
                run = self._shared.term_weighted_run(name, system, evaluate, depth)
            case "letor":
                run = self._letor(name, system, evaluate)
            case "run":
                run = self._shared.given_run(name, system, evaluate, depth)
            case "rerank":
                roles = self._reader(name, system)
                run = self._reranked(name, system, roles, evaluate)
            case "vectors":
                roles = self._shared.given_vectors(name, system)
                run = self._shared.dense_run(name, roles, self._config.index_of(name))
            case "dense":
                make = {
                    "query_encoder": self._query_encoder,
                    "both_encoders": self._dual_encoder,
                    "nothing": self._untrained,
                }
                roles = make[system.trains](name, system)
                run = self._shared.dense_run(name, roles, self._config.index_of(name))
        return SystemStages(run=run, measure=self._shared.measure(name, run), **roles)

    def _base(self, name: str, system: System, encoded: bool) -> Roles:
        """What a system starts from; nothing where it starts from none.

        Args:
            name: of the system.
            system: its answers.
            encoded: whether vectors of this collection's passages are needed, which another study has not.
        """
        if system.from_ is None:
            return {}
        if ":" not in system.from_:
            return self.stages[system.from_].roles
        start, adopt = self._start_of(system.from_, f"systems.{name}.from"), self._shared.graph.adopt
        base = {role: adopt(stage) for role in STARTED if (stage := start.roles.get(role)) is not None}
        if encoded:
            encoder, model = base["passage_model"], base["model"]
            base |= self._encoded_before(encoder) or self._shared.encoded(
                system.from_.replace(":", "."), base["tokenizer"], encoder
            )
            base["model"] = model
        return base

    def _encoded_before(self, encoder: Stage) -> Roles:
        """The passages that another system has encoded by the same encoder: query encoders may share one."""
        for earlier in self.stages.values():
            if earlier.passages is not None and earlier.passages.parents.get("model") is encoder:
                return {"passages": earlier.passages}
        return {}

    def _untrained(self, name: str, system: System) -> Roles:
        """A system as it is: the backbone, another study's on this collection, or one of this with another index."""
        base = {**(self._base(name, system, encoded=True) or self._pretrained())}
        if "queries" not in base:
            base["queries"] = self._shared.queries(name, base["tokenizer"], base["model"], self._shared.evaluated)
        if system.width is not None:
            base |= self._shared.narrowed(name, base, system.width)
        index = self._shared.index(base["passages"].label, base["passages"], self._config.index_of(name))
        return {**base, "index": index}

    def _pretrained(self) -> Roles:
        """The backbone without any training."""
        tokenizer = self._shared.tokenizer(self._config.encoder)
        model = self._shared.pretrained(tokenizer)
        return self._shared.encoded(model.label, tokenizer, model)

    def _dual_encoder(self, name: str, system: System) -> Roles:
        mines_start = any("mine" in s.stages and s.mined_system(system.from_) == system.from_ for s in system.source)
        clustered = "clusters" in system.order.stages or "teacher_vectors" in system.labels.stages
        base = self._base(name, system, encoded=mines_start or clustered)
        self._check_untied(name, system, base)
        tokenizer = base.get("tokenizer") or self._shared.tokenizer(self._config.encoder)
        start = base.get("model")
        if start is None and self._config.encoder.lora is not None:  # adapters leave the backbone where it is
            start = self._shared.pretrained(tokenizer)
        roles: Roles = {}
        self.rounds[name] = []
        for number in range(1, system.refresh.count() + 1):
            parents: dict[str, Stage | None] = {"tokenizer": tokenizer, "tokens": self._shared.tokens(tokenizer)}
            parents["init"] = start if not roles else None
            if self._config.encoder.untied and not roles and base.get("passage_model", start) is not start:
                parents["init_passages"] = base["passage_model"]
            model = self._trainings.stage(name, number, roles or base, roles.get("model"), parents)
            self.rounds[name].append(model)
            roles = self._shared.encoded(model.label, tokenizer, model)
        queries = self._shared.queries(name, tokenizer, roles["model"], self._shared.evaluated)
        index = self._shared.index(name, roles["passages"], self._config.index_of(name))
        return {**roles, "queries": queries, "index": index}

    def _check_untied(self, name: str, system: System, base: Roles) -> None:
        """Refuse one encoder that would start from two."""
        passages = base.get("passage_model")
        if passages is not None and passages.settings.get("untied") and not self._config.encoder.untied:
            raise HardnegError(
                "One encoder of queries and passages cannot start from two.",
                where=f"systems.{name}.from",
                found=f"{system.from_}, whose encoders are untied",
                remedy="set encoder.untied: true, or start from a system with one encoder.",
            )

    def _query_encoder(self, name: str, system: System) -> Roles:
        base = self._base(name, system, encoded=True)
        index = self._shared.index(base["passages"].label, base["passages"], self._config.index_of(name))
        self.rounds[name] = []
        for number in range(1, system.refresh.count() + 1):
            continues = self.rounds[name][-1] if self.rounds[name] else None
            parents: dict[str, Stage | None] = {
                "tokens": self._shared.tokens(base["tokenizer"]),
                "init": base["model"],
                "passages": base["passages"],
                "index": index,
            }
            latest = base if continues is None else {**base, "model": continues}
            self.rounds[name].append(self._trainings.stage(name, number, latest, continues, parents))
        model = self.rounds[name][-1]
        queries = self._shared.queries(name, base["tokenizer"], model, self._shared.evaluated)
        served = index if system.train.centroids is None else self._shared.trained_index(name, index, model)
        return {**base, "model": model, "queries": queries, "index": served}

    def _reader(self, name: str, system: System) -> Roles:
        """A cross-encoder or a late interaction, which reads pairs of texts."""
        base, late = self._base(name, system, encoded=False), system.trains == "late_interaction"
        kind = base["model"].kind if "model" in base else None
        if kind is not None and system.trains != "nothing" and kind != TRAINS[system.trains]:
            raise HardnegError(
                "A cross-encoder and a late interaction cannot start from each other.",
                where=f"systems.{name}.from",
                found=f"{system.from_}, a {kind.replace('_', ' ')}",
                remedy="remove `from`, or name another system.",
            )
        section = self._config.encoder if late else self._config.cross_encoder
        tokenizer = base.get("tokenizer") or self._shared.tokenizer(section)
        parents: dict[str, Stage | None] = {"tokenizer": tokenizer}
        parents["tokens"] = self._shared.tokens(tokenizer) if late else self._shared.pair_tokens(tokenizer)
        if system.trains == "nothing":
            model = base.get("model") or self._shared.pretrained_cross_encoder(name, parents)
        else:
            model = self._trainings.stage(name, 1, base, None, {**parents, "init": base.get("model")})
            self.rounds[name] = [model]
        return {"tokenizer": tokenizer, "model": model}

    def _reranked(self, name: str, system: System, roles: Roles, splits: list[str]) -> Stage:
        assert system.rerank is not None
        first = self._first_stage(system.rerank.system, splits, system.rerank.depth)
        return self._shared.reranked(name, roles, first, splits)

    def _letor(self, name: str, system: System, splits: list[str]) -> Stage:
        """A ranking of some splits reordered by LambdaMART, which learns from that of the training queries."""
        train, asked = self._config.splits.train, system.rerank
        assert train is not None and asked is not None
        shared, reading = self._shared, {"passage_template": self._config.bm25.passage_template}
        parents = {"collection": shared.collection, "run": self._first_stage(asked.system, [train], asked.depth)}
        settings = {**plain(self._config.letor), **reading, "seed": self._config.seed, "split": train}
        model = shared.graph.add("letor", name, settings, parents)
        parents |= {"model": model, "run": self._first_stage(asked.system, splits, asked.depth)}
        return shared.graph.add("letor_run", name, {**reading, "splits": splits, "depth": asked.depth}, parents)

    def _first_stage(self, name: str, splits: list[str], depth: int) -> Stage:
        """The ranking of some splits by a system, to be reordered."""
        system, shared = self._config.systems[name], self._shared
        match system.retriever:
            case "bm25":
                return shared.bm25_run(name, splits, depth)
            case "run":
                return shared.given_run(name, system, splits, depth)
            case "rerank":
                return self._reranked(name, system, self.stages[name].roles, splits)
            case "letor":
                return self._letor(name, system, splits)
            case "deepct":
                return shared.term_weighted_run(name, system, splits, depth)
            case _:
                roles = self.stages[name].roles
                queries = roles["queries"]
                if not set(splits) <= set(queries.settings["splits"]):
                    queries = shared.queries(name, roles["tokenizer"], roles["model"], splits)
                settings = shared.searched(splits, depth, self._config.index_of(name))
                parents = {"passages": roles["passages"], "index": roles["index"], "queries": queries}
                return shared.ranked(name, settings, parents)

    def exported_negatives(self, asked: NegativesExport) -> Stage:
        """The mined negatives that a system's last round trained on, as rows for other tools."""
        training = self.rounds[asked.negatives][-1]
        mined = {role: parent for role, parent in training.parents.items() if role.startswith("negatives")}
        settings: dict[str, Any] = {"system": asked.negatives, "count": asked.count, "draw": asked.draw}
        settings["split"] = self._config.splits.train
        if asked.draw == "uniform":
            settings["seed"] = self._config.seed
        parents = {"collection": self._shared.collection, **mined}
        parents |= self._trainings.known_scores(training, mined)
        return self._shared.graph.add("negatives_export", asked.negatives, settings, parents)

    def _training_run(self, name: str, depth: int) -> Stage:
        """The ranking of the training queries by a system that others mine."""
        train, system = self._config.splits.train, self._config.systems[name]
        assert train is not None
        if system.retriever == "dense":
            return self._trainings.dense_run(name, self.stages[name].roles, depth)
        return self._first_stage(name, [train], depth)


def in_order(systems: Mapping[str, System]) -> Iterator[str]:
    """System names, those first that others build on; otherwise in the order given."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        for _, other in references(systems[name]):
            if other in systems:
                yield from visit(other)
        yield name

    for name in systems:
        yield from visit(name)


def missing_start(found: str, key: str, systems: Mapping[str, SystemStages]) -> HardnegError:
    """Another study has no such trained system."""
    return HardnegError(
        "A study has no such trained system.",
        where=key,
        found=found,
        expected=", ".join(name for name, stages in systems.items() if stages.model is not None),
        remedy="name one of these.",
    )


STARTED = ("tokenizer", "passage_model", "model")
"""The roles of another study's system that one of this study starts from."""

TRAINED = tuple(TRAINS.values())
"""The kinds of stages that train."""
