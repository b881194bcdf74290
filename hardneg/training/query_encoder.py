"""Training of the query encoder alone, over passage vectors that never change: ADORE (Zhan et al., section 6.2).

With the live index at every step it is ADORE; with static lists in its place it is what the paper holds against it
(sections 5.1 and 8.2), all else being equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hardneg.axes import answer_of, function_of
from hardneg.data.judgements import Judgements
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.retrieval.mine import FILE
from hardneg.retrieval.search.retrieve import open_searcher, served_vectors
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.lists import ListMaker, LiveLists, StaticLists, by_score
from hardneg.training.loop import HANDOVER, Budget, Log, fit, new_accelerator, rows_of_step, write_log
from hardneg.training.schedule import total_steps


def train(stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device]) -> list[str]:
    """Train a copy of the encoder for queries only and write it into the stage's folder.

    At every step the queries are encoded with dropout on. Their lists are what the index ranks on top under those very
    vectors, or static candidates in the order of the present scores; positives that a list lacks join it. The loss over
    the list flows back into the query encoder. Passages are scored with the vectors that the index itself scores with,
    so that training sees what serving sees (section 6.2.3).

    What is kept (`kept.safetensors`): every `log_retrieved_every` steps the queries, their vectors and what was
    retrieved; and where probes are asked for, `probe.<step>` [queries of the split, dim] in evaluation mode, with
    `batch.<step>.queries` and `batch.<step>.vectors` of the training step that followed.

    Args:
        stage: settings `source`, `sampler`, `refresh`, `round`, `loss`, `train`, `seed`, `split`, `precision`,
            `search`, `probe` (`every` steps, `split`; or None); parents `collection`, `tokens`, `init`, `passages`,
            `index`, and `negatives` and `continues` where there are such.
        runtime: `checkpoint_seconds`, `trackers`.
        devices: the encoder trains on the first; all of them search.

    Returns:
        The names of the files written.
    """
    settings, parents, device = stage.settings, stage.parents, devices[0]
    options, seed, split = settings["train"], settings["seed"], settings["split"]
    queries = TokenStore(parents["tokens"], f"queries.{split}", options["query_length"])
    vectors = served_vectors(parents["passages"], parents["index"])
    judged = Judgements.read(
        parents["collection"].path(f"qrels.{split}.parquet"), len(queries), parents["passages"].facts["rows"]
    )
    encoder = Encoder.load(parents["continues" if "continues" in parents else "init"]).to(device)
    encoder.require_length(queries.longest)
    if options["gradient_checkpointing"]:
        encoder.checkpoint_gradients()
    probe = _Probe(stage, encoder, device) if settings["probe"] else None
    lists = _list_maker(stage, devices, judged)
    loss_of, cut = function_of("loss", settings["loss"]), settings["loss"].get("cut")
    trainable = judged.with_positives()

    def compute_loss(step: int, log: Log) -> torch.Tensor:
        rows = rows_of_step(trainable, step, options["batch_size"], seed)
        probed = probe is not None and probe.take(step, log)
        query = encode_rows(encoder, queries, rows, options["rows_per_forward"], device)
        passages, grades, found = lists.at(step, rows, query)
        if probed:
            log.kept |= _named(f"batch.{step:06d}", queries=torch.from_numpy(rows), vectors=query)
        if found is not None and (step + 1) % options["log_retrieved_every"] == 0:
            kept = {"vectors": query, "retrieved": found[0], "scores": found[1]}
            log.kept |= _named(f"{step + 1:06d}", queries=torch.from_numpy(rows), **kept)
        listed = torch.from_numpy(passages >= 0).to(device)
        taken = torch.from_numpy(vectors.take(np.maximum(passages, 0).ravel())).view(*passages.shape, -1).to(device)
        with torch.autocast(device.type, enabled=False):  # mixed precision is for the encoder
            scores = torch.einsum("qd,qld->ql", vectors.query(query.float()), taken) / encoder.temperature
        labels = torch.from_numpy(grades).to(device)
        if not lists.ranked:
            scores, labels, listed = by_score(scores, labels, listed=listed)
        ideal = torch.from_numpy(ideal_dcg(judged, rows, cut)).to(device)
        loss: torch.Tensor = loss_of(scores, labels, listed, ideal)
        return loss

    total = total_steps(options["steps"], options["epochs"], len(trainable), options["batch_size"])
    first, end = function_of("refresh", settings["refresh"])(total, settings["round"])
    accelerator = new_accelerator(device, settings["precision"], runtime["trackers"], stage.folder)
    log = fit(
        encoder,
        compute_loss,
        stage,
        Budget(first, end, total),
        accelerator,
        checkpoint_seconds=runtime["checkpoint_seconds"],
        label=f"train {stage.record['label']}",
        continues=parents["continues"].path(HANDOVER) if "continues" in parents else None,
    )
    if probe is not None and end == total:
        with accelerator.autocast():
            probe.take(end, log, last=True)
    stage.facts |= {"dim": encoder.dim, "first_step": first, "steps": end - first, "queries": len(trainable)}
    return [*encoder.save(stage.folder), *write_log(log, stage.folder), *([HANDOVER] if end < total else [])]


class _Probe:
    """Looks at the encoder while it trains: all queries of a split, in evaluation mode, every so many steps."""

    def __init__(self, stage: StageFolder, encoder: Encoder, device: torch.device) -> None:
        asked, train = stage.settings["probe"], stage.settings["train"]
        self._every, self._rows_per_forward = asked["every"], train["rows_per_forward"]
        self._queries = TokenStore(stage.parents["tokens"], f"queries.{asked['split']}", None)
        encoder.require_length(self._queries.longest)
        self._encoder, self._device = encoder, device

    def take(self, step: int, log: Log, last: bool = False) -> bool:
        """Keep the vectors if it is time, before the step of this number (from 0) or after the last; whether it was."""
        if step % self._every and not last:
            return False
        self._encoder.eval()
        rows = np.arange(len(self._queries))
        with torch.no_grad():
            vectors = encode_rows(self._encoder, self._queries, rows, self._rows_per_forward, self._device)
        self._encoder.train()
        log.kept[f"probe.{step:06d}"] = vectors.float().cpu()
        return True


def _list_maker(stage: StageFolder, devices: list[torch.device], judged: Judgements) -> ListMaker:
    settings, parents = stage.settings, stage.parents
    if answer_of("source", settings["source"]).live:
        size = settings["train"]["batch_size"]
        searcher = open_searcher(parents["passages"], parents["index"], devices, size, settings["search"])
        return LiveLists(searcher, settings["source"], judged)
    negatives = parents["negatives"].path(FILE) if "negatives" in parents else None
    return StaticLists.of(settings, negatives, judged, judged.passages)


def _named(prefix: str, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    # Copies: what shares memory cannot be written.
    return {f"{prefix}.{name}": tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def ideal_dcg(judged: Judgements, queries: np.ndarray, cut: int | None) -> np.ndarray:
    """The best possible DCG@cut of each query, linear gain (trec_eval's): float32 [n]."""
    best = np.zeros(len(queries), np.float32)
    for row, query in enumerate(queries):
        grades = np.sort(judged.of(int(query))[1])[::-1][:cut]
        best[row] = (grades / np.log2(np.arange(2, len(grades) + 2))).sum()
    return best
