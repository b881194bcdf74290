"""Training: one loop for everything that trains (both encoders, the query encoder, a cross-encoder)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from hardneg.data.judgements import Judgements
from hardneg.methods.axes import function_of
from hardneg.methods.batch import TrainingBatch
from hardneg.model.encoder import Encoder
from hardneg.stages.artifacts import StageFolder
from hardneg.training.draws import Draws, Meeting
from hardneg.training.loop import HANDOVER, Budget, fit, new_accelerator, write_log
from hardneg.training.probe import Probe, named
from hardneg.training.processes import ALONE, Processes
from hardneg.training.schedule import BEFORE, queries_before, total_steps
from hardneg.training.scorers import BothEncoders, Scorer, scorer_of
from hardneg.training.state import Log


def train(
    stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device], processes: Processes = ALONE
) -> list[str]:
    """Train what the stage says and write its weights into the stage's folder.

    A step takes its queries in the order that the order answer gives. Sources offer candidates, some by the vectors of
    these. The sampler draws negatives and positives together, the batch answer says who meets whom, and judged pairs
    are masked. What meets is scored, and the losses are added up by their weights.

    What is kept (`kept.safetensors`) of a query encoder: every `log_retrieved_every` steps the queries, their vectors
    and what was retrieved; and what `Probe` keeps.

    Args:
        stage: settings `trains`, `order`, `source`, `sampler`, `refresh`, `labels`, `loss`, `batch`, `positives`,
            `lists`, `positive_scores`, `passage_scores`, `live`, `round`, `train`, `seed`, `split`, `precision`,
            `search`, `probe`, `dims` where there are narrower widths, `encoder` where weights are made; parents
            `collection`, `tokenizer`, `tokens`, and where there are such `init`, `continues`, `passages`, `index`,
            `negatives`, `clusters`, `teacher`, `late_teacher`, `late_tokens`, `outside`.
        runtime: `checkpoint_seconds`, `trackers`, `places`.
        devices: training runs on the first; all of them search.
        processes: that train together. Each calls this, and the first writes.

    Returns:
        The names of the files written; of other processes than the first, none.
    """
    settings, parents, device = stage.settings, stage.parents, devices[0]
    collection, options, split = parents["collection"], settings["train"], settings["split"]
    counts = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), *counts)
    scorer = scorer_of(stage, runtime, devices, judged, settings["live"], processes)
    processes.share(scorer.module)
    if options["gradient_checkpointing"]:
        scorer.module.checkpoint_gradients()
    draws = Draws.of(settings, parents, judged, scorer.live, device, queries_before(options, parents))
    probe = _probe(stage, scorer, draws, device)
    total = total_steps(options["steps"], options["epochs"], len(draws.trainable), options["batch_size"])
    first, end = function_of("refresh", settings["refresh"])(total, settings["round"])
    _tell(draws, first, end if processes.first else first)
    trackers = runtime["trackers"] if processes.first else []
    accelerator = new_accelerator(device, settings["precision"], trackers, stage.folder)
    log = fit(
        scorer.weights,
        _Step(settings, scorer, draws, probe, device),
        stage,
        Budget(first, end, total),
        accelerator,
        checkpoint_seconds=runtime["checkpoint_seconds"],
        label=f"train {stage.record['label']}",
        continues=parents["continues"].path(HANDOVER) if "continues" in parents else None,
        answers=[*draws.stateful, *([draws.follower] if draws.follower is not None else [])],
        begin=lambda: draws.start(scorer),
        processes=processes,
    )
    if probe is not None and end == total:
        with accelerator.autocast():
            probe.take(end, log, last=True)
    stage.facts |= _facts(scorer, draws, first, end, options["batch_size"])
    if not processes.first:
        return []
    return [*scorer.save(stage.folder), *write_log(log, stage.folder), *([HANDOVER] if end < total else [])]


def _probe(stage: StageFolder, scorer: Scorer, draws: Draws, device: torch.device) -> Probe | None:
    if not stage.settings["probe"]:
        return None
    assert isinstance(scorer.module, Encoder)
    return Probe(stage, scorer.module, draws.trainable, device)


def _tell(draws: Draws, first: int, end: int) -> None:
    """Say what each of several joined collections has, and gives to these steps."""
    if draws.members is not None and end > first:
        print("\n".join(draws.members.told(draws.passed + first, draws.passed + end)), flush=True)


def _facts(scorer: Scorer, draws: Draws, first: int, end: int, batch_size: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"first_step": first, "steps": end - first, "queries": len(draws.trainable)}
    if draws.passed:
        facts[BEFORE] = draws.passed * batch_size
    if draws.members is not None:
        facts["batches"] = draws.members.counts(draws.passed + first, draws.passed + end)
        print("batches:", ", ".join(f"{name} {count:,}" for name, count in facts["batches"].items()), flush=True)
    return {**facts, **scorer.module.facts, **(draws.follower.facts if draws.follower is not None else {})}


class _Step:
    """The loss of a step."""

    def __init__(
        self, settings: Mapping[str, Any], scorer: Scorer, draws: Draws, probe: Probe | None, device: torch.device
    ) -> None:
        self._scorer, self._draws, self._probe, self._device = scorer, draws, probe, device
        self._losses = [(function_of("loss", chosen), chosen["weight"]) for chosen in settings["loss"]]
        self._among = settings.get("passage_scores", False)
        # The loss of the whole vectors is there anyway.
        self._dims = [width for width in settings.get("dims", ()) if width != getattr(scorer.module, "dim", None)]
        self._follower, self._followed = draws.follower, draws.followed()
        self._log_every = settings["train"]["log_retrieved_every"]

    def __call__(self, step: int, log: Log) -> torch.Tensor:
        rows = self._draws.rows(step)
        if self._follower is not None:
            assert isinstance(self._scorer, BothEncoders)
            self._follower.before(step, self._followed, self._scorer.module, self._scorer.plain)
        probed = self._probe is not None and self._probe.take(step, log)
        if self._draws.looks_at_queries:
            query = self._scorer.queries(rows)
            meeting = self._draws.at(step, query)
            scores = self._scorer.scores(query, meeting)
        else:
            meeting = self._draws.at(step)
            query, scores = self._scorer.both(meeting)
        if query is not None:
            self._keep(step, log, meeting, query, probed)
        batch = self._batch(meeting, scores)
        if self._draws.stateful and self._scorer.encoded is not None:
            self._draws.learn(meeting, self._scorer.encoded.detach().float().cpu().numpy())
        total = self._loss(batch)
        for width in self._dims:  # Matryoshka: the loss at each width, all of one weight (Kusupati et al. 2022, Eq. 1)
            assert isinstance(self._scorer, BothEncoders) and query is not None
            among = self._scorer.among(meeting, width) if self._among else None
            total = total + self._loss(replace(batch, scores=self._scorer.narrower(query, width), among=among))
        return total

    def _loss(self, batch: TrainingBatch) -> torch.Tensor:
        parts = [loss(batch) if weight == 1 else weight * loss(batch) for loss, weight in self._losses]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    def _batch(self, meeting: Meeting, scores: torch.Tensor) -> TrainingBatch:
        def there(values: Any) -> torch.Tensor:
            return torch.from_numpy(values).to(self._device)

        rank = torch.arange(1, scores.shape[1] + 1, device=self._device).expand(scores.shape)
        known, second = self._draws.teacher_scores(meeting), self._draws.second_scores(meeting)
        taught, clean = there(known) if known is not None else None, None
        if self._follower is not None:
            assert isinstance(self._scorer, BothEncoders)
            taught, flags = self._follower.teach(meeting.rows, meeting.passages, self._scorer.plain)
            clean = there(flags)
        return TrainingBatch(
            scores,
            there(meeting.grades),
            there(meeting.listed),
            there(meeting.origin),
            there(meeting.passages),
            there(meeting.judged),
            rank if meeting.ranked else None,
            taught,
            there(meeting.drawn.mass) if meeting.drawn.mass is not None else None,
            self._scorer.among(meeting) if self._among else None,
            clean,
            there(second) if second is not None else None,
        )

    def _keep(self, step: int, log: Log, meeting: Meeting, query: torch.Tensor, probed: bool) -> None:
        """Keep the vectors of a step that a probe precedes, and now and then what was retrieved."""
        queries = torch.from_numpy(meeting.rows)
        if probed:
            log.kept |= named(f"batch.{step:06d}", queries=queries, vectors=query)
        if self._scorer.found is not None and (step + 1) % self._log_every == 0:
            passages, scores = self._scorer.found
            log.kept |= named(f"{step + 1:06d}", queries=queries, vectors=query, retrieved=passages, scores=scores)
