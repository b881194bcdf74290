"""The stage of a training, and the stages that its answers need: mined negatives, pair scores, clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hardneg.config import Config, System
from hardneg.config.checks.answers import provided
from hardneg.config.collection import JoinedCollection
from hardneg.methods.axes import answers_of, default_of, root_of
from hardneg.methods.base import Answer, Sourcing
from hardneg.planning.inputs import plain
from hardneg.planning.shared import READING_ROOTS, Shared, search_of
from hardneg.stages.kinds import TRAINS
from hardneg.stages.stage import Stage

Roles = dict[str, Stage]

NOT_OF_TRAINING = {"positives", "system", "in_batch"}
"""Settings of answers that other parts of a stage's version hold: resolved `positives`, and the parents."""


IN_COLUMNS = ("both_encoders", "late_interaction")
"""What trains where all queries of a step meet the same passages, each of which is read once."""


class Trainings:
    """Makes training stages.

    Args:
        config: what to plan.
        shared: stages that systems share.
        run_of: the ranking of the training queries by a system of this configuration, by its name and a depth.
        roles_of: the stages of a system that was planned before, by role.
    """

    def __init__(
        self, config: Config, shared: Shared, run_of: Callable[[str, int], Stage], roles_of: Callable[[str], Roles]
    ) -> None:
        self._config, self._shared, self._graph = config, shared, shared.graph
        self._run_of, self._roles_of = run_of, roles_of

    def stage(
        self, name: str, number: int, latest: Roles, continues: Stage | None, parents: dict[str, Stage | None]
    ) -> Stage:
        """The training stage of one round of a system.

        Args:
            name: of the system.
            number: of the round, from 1.
            latest: the roles of the last round, or of what the system starts from; a source may mine them.
            continues: the last round's stage; None in the first round.
            parents: what it reads besides what its answers need.
        """
        config, system = self._config, self._config.systems[name]
        kind, chosen = TRAINS[system.trains], answered(system)
        live = "live" in provided(system)
        settings: dict[str, Any] = {
            "trains": system.trains,
            "positives": positives_of(system),
            "lists": system.trains not in IN_COLUMNS and not system.batch.across,
            "positive_scores": needs(system, "positive_score"),
            "live": live,
            "round": number,
            "train": plain(system.train, drop=["precision"]),
            "seed": config.seed,
            "split": self._split,
            "threads": config.arithmetic.training_threads,
            "precision": system.train.precision or config.arithmetic.precision,
            "temperature": config.encoder.temperature,
            "search": search_of(config.index_of(name)) if live else None,
            "probe": self._probe(name),
            **({"dims": config.encoder.dims} if kind == "dual_encoder" and config.encoder.dims else {}),
            **({"passage_scores": True} if needs(system, "passage_scores") else {}),
            **_settings(chosen),
        }
        if isinstance(config.collection, JoinedCollection):
            settings["weights"] = config.collection.weights
        if kind != "query_encoder":
            settings["encoder"] = self._weights(kind, parents.get("init") or continues)
        if kind == "dual_encoder" and config.encoder.untied:
            fresh = parents.get("init") is None and continues is None
            settings |= {"untied": True, **(self._shared.passage_weights() if fresh else {})}
        roots = [root_of(key, answer) for key, answer in chosen if key != "filter"]
        parents = {"collection": self._shared.collection, **parents, "continues": continues}
        parents |= self._needed(system, latest)
        if any("generated" in source.stages for source in system.source):
            parents["outside"] = self._shared.outside(parents, self._split)
        return self._graph.add(kind, label_of(name, number, system), settings, parents, roots)

    def dense_run(self, label: str, roles: Roles, depth: int) -> Stage:
        """The ranking of the training queries by an encoder whose passages are encoded, searched exactly."""
        queries = self._shared.queries(label, roles["tokenizer"], roles["model"], [self._split])
        parents = {"passages": roles["passages"], "queries": queries}
        return self._shared.ranked(label, self._shared.searched([self._split], depth), parents)

    @property
    def _split(self) -> str:
        train = self._config.splits.train
        assert train is not None
        return train

    def _probe(self, name: str) -> dict[str, Any] | None:
        followed = self._config.analyses.trajectory
        if followed is None or name not in followed.systems:
            return None
        training = followed.training_queries
        return {"every": followed.every, "split": self._config.analysed_split, "training": training}

    def _weights(self, kind: str, start: Stage | None) -> dict[str, Any]:
        """The settings that the weights were first made with, which what starts from them keeps."""
        if start is None:
            config = self._config
            if kind == "late_interaction":
                return self._shared.late_weights()
            return self._shared.weights(config.cross_encoder if kind == "cross_encoder" else config.encoder)
        while "encoder" not in start.settings:  # a query encoder that was trained alone
            start = start.parents["init"]
        settings: dict[str, Any] = start.settings["encoder"]
        return settings

    def _needed(self, system: System, latest: Roles) -> Roles:
        """What the answers of a system need of the plan, by role."""
        needed: Roles = {}
        for number, source in enumerate(system.source, 1):
            if "mine" in source.stages:
                needed["negatives" if number == 1 else f"negatives_{number}"] = self._negatives(system, source, latest)
        mined = dict(needed)
        if needs(system, "mined_vectors"):
            for role, negatives in mined.items():
                ranked = negatives.parents["run"]
                needed |= {f"{of}_{role}": ranked.parents[of] for of in ("passages", "queries")}
        for key, answer in answered(system):
            if key == "labels" and "given_lists" in answer.stages:
                needed["teacher"] = self._given(system)
            if "clusters" in answer.stages:
                needed["clusters"] = self._clusters(answer, latest)
            if "pair_scores" in answer.stages and key != "filter":  # filters read scores when they mine
                needed["teacher"] = self._taught(_system_of(answer) or "", mined)
            if "teacher_vectors" in answer.stages:
                named = _system_of(answer)
                roles = self._roles_of(named) if named is not None else latest
                queries = self._shared.queries(roles["model"].label, roles["tokenizer"], roles["model"], [self._split])
                needed |= {"passages_teacher": roles["passages"], "queries_teacher": queries}
            if "late_interaction" in answer.stages:
                roles = self._roles_of(answer.named("late_interaction")[1] or "")
                needed |= {"late_teacher": roles["model"], "late_tokens": self._shared.tokens(roles["tokenizer"])}
        return needed

    def _negatives(self, system: System, source: Sourcing, latest: Roles) -> Stage:
        """Candidates for training: a ranking of the training queries without judged positives, filtered."""
        return self._filtered(system, self._mined(system, source, latest), system.filter)

    def _filtered(self, system: System, run: Stage, filters: Sequence[Answer]) -> Stage:
        """What some filters leave of a ranking. A teacher among them scores what those before it leave."""
        scored = needs(system, "positive_score")
        settings = {
            "filter": [answer.model_dump(mode="json", exclude={"system"}) for answer in filters],
            "split": self._split,
            "positives": scored,
        }
        parents: dict[str, Stage | None] = {"collection": self._shared.collection, "run": run}
        if scored and run.kind in ("run", "given_lists"):
            parents["scores"] = run if run.kind == "given_lists" else self._judged_scores(run)
        for number, answer in enumerate(filters, 1):
            if "pair_scores" in answer.stages:
                left = self._filtered(system, run, filters[: number - 1])
                parents[f"teacher.{number}"] = self._taught(_system_of(answer) or "", {"negatives": left})
        return self._graph.add("mine", run.label, settings, parents, [root_of("filter", answer) for answer in filters])

    def _mined(self, system: System, source: Sourcing, latest: Roles) -> Stage:
        """The ranking of the training queries that a source mines."""
        if "given_lists" in source.stages:
            return self._given(system)
        depth: int = source.model_dump()["depth"]
        named = source.mined_system(system.from_)
        start = named is None or named == system.from_  # the last round, or what the system starts from
        return self.dense_run(latest["model"].label, latest, depth) if start else self._run_of(str(named), depth)

    def _given(self, system: System) -> Stage:
        """What the collection gives for the training queries, with what the answers of a system read of it."""
        sources = [source for source in system.source if "given_lists" in source.stages]
        needed = {"negatives"} if sources else set[str]()
        if sources and needs(system, "scores"):
            needed.add("every_score")
        if sources and needs(system, "positive_score"):
            needed.add("positive_scores")
        if "given_lists" in system.labels.stages:
            needed |= {"scores", "positive_scores"}
        depth = max((source.model_dump()["depth"] for source in sources), default=0)
        settings = {"splits": [self._split], "depth": depth, "needed": sorted(needed)}
        return self._graph.add("given_lists", "given", settings, {"collection": self._shared.collection})

    def _judged_scores(self, run: Stage) -> Stage:
        """Scores of the judged pairs by the vectors that a dense run was made from."""
        settings = {"split": self._split, "threads": self._config.arithmetic.encoding_threads}
        parents = {role: run.parents[role] for role in ("passages", "queries")}
        return self._graph.add("pair_scores", run.label, settings, {"collection": self._shared.collection, **parents})

    def known_scores(self, training: Stage, mined: Roles) -> Roles:
        """What scores the pairs of a training and of its mined negatives on one scale, by the roles of an export.

        A teacher scores both. Without one, the mined ranking does, if there is one only.
        """
        if (teacher := training.parents.get("teacher")) is not None:
            return {"teacher": teacher}
        if len(mined) > 1:
            return {}
        run = mined["negatives"].parents["run"]
        if run.kind == "given_lists":
            return {"teacher": run}
        return {"scores": self._judged_scores(run)} if run.kind == "run" else {"run": run}

    def _taught(self, teacher: str, mined: Roles) -> Stage:
        """A teacher's scores of the judged pairs and of all candidates."""
        roles, arithmetic = self._roles_of(teacher), self._config.arithmetic
        settings: dict[str, Any] = {"split": self._split, "threads": arithmetic.encoding_threads}
        parents, roots = {"collection": self._shared.collection, **mined}, list[str]()
        if self._config.systems[teacher].retriever == "rerank":
            settings["precision"] = arithmetic.precision
            parents |= {"model": roles["model"], "tokens": self._shared.read_tokens(roles)}
            roots = READING_ROOTS.get(roles["model"].kind, roots)
        else:
            queries = self._shared.queries(teacher, roles["tokenizer"], roles["model"], [self._split])
            parents |= {"passages": roles["passages"], "queries": queries}
        return self._graph.add("pair_scores", teacher, settings, parents, roots)

    def _clusters(self, answer: Answer, latest: Roles) -> Stage:
        """Clusters of the training queries by the vectors of the named system, or of what this one starts from."""
        named = _system_of(answer)
        roles = self._roles_of(named) if named is not None else latest
        label = roles["model"].label
        queries = self._shared.queries(label, roles["tokenizer"], roles["model"], [self._split])
        settings = {
            "split": self._split,
            "clusters": answer.model_dump()["clusters"],
            "seed": self._config.seed,
            "threads": self._config.arithmetic.encoding_threads,
        }
        return self._graph.add("clusters", label, settings, {"queries": queries})


def label_of(name: str, number: int, system: System) -> str:
    """The label of a round's stages: the last round is the system itself."""
    return name if number == system.refresh.count() else f"{name}.{number}"


def answered(system: System) -> list[tuple[str, Answer]]:
    """The answers of a system with the key of each, with the default sampler where candidates need one."""
    given = list(answers_of(system))
    if system.sampler is None and any("candidates" in source.provides for source in system.source):
        given.append(("sampler", default_of("sampler")))
    return given


def needs(system: System, what: str) -> bool:
    """Whether an answer of a system needs something; see `hardneg.methods.base.NEEDS`."""
    return any(what in answer.needed() for _, answer in answered(system))


def positives_of(system: System) -> str:
    """Which judged passages join what was drawn; see `hardneg.methods.base.Drawing`."""
    given = system.sampler.positives if system.sampler is not None else None
    return given or ("missing" if system.trains == "query_encoder" else "one")


def _system_of(answer: Answer) -> str | None:
    named: str | None = getattr(answer, "system", None)
    return named


def _settings(chosen: list[tuple[str, Answer]]) -> dict[str, Any]:
    """The answers as a training stage's settings; what was mined, and how it was filtered, is in the mining stage."""
    settings: dict[str, Any] = {"sampler": None, "source": [], "loss": []}
    for key, answer in chosen:
        dumped = answer.model_dump(mode="json", exclude=NOT_OF_TRAINING)
        if key in ("source", "loss"):
            settings[key].append(dumped)
        elif key != "filter":
            settings[key] = dumped
    return settings
