"""Training of both encoders (one set of weights) with static negatives: In-Batch, Rand, BM25 Neg, ANCE, STAR."""

from __future__ import annotations

from typing import Any

import torch

from hardneg.axes import function_of
from hardneg.data.judgements import Judgements
from hardneg.model.encoder import Encoder, encode_rows, initial_encoder
from hardneg.retrieval.mine import FILE
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.loop import HANDOVER, Budget, Log, fit, new_accelerator, write_log
from hardneg.training.pairs import StaticPairs
from hardneg.training.schedule import total_steps


def train(stage: StageFolder, runtime: dict[str, Any], device: torch.device) -> list[str]:
    """Train from a recipe and write the encoder into the stage's folder.

    A step takes `batch_size` queries, one judged positive of each (drawn uniformly) and, from a mined source, the
    sampler's negatives. Columns of the score matrix are all rows' positives, then all rows' negatives; the batch answer
    says which are compared with which row, and every judged (query, passage) pair is masked everywhere.

    Args:
        stage: settings `encoder`, `source`, `sampler`, `refresh`, `round`, `loss`, `batch`, `train`, `seed`,
            `split`, `precision`; parents `collection`, `tokenizer`, `tokens`, and `negatives`, `init` or `continues`
            where there are such.
        runtime: `checkpoint_seconds`, `trackers`, `places`.
        device: where it runs.

    Returns:
        The names of the files written.
    """
    settings, parents = stage.settings, stage.parents
    collection, options, split = parents["collection"], settings["train"], settings["split"]
    queries = TokenStore(parents["tokens"], f"queries.{split}", options["query_length"])
    passages = TokenStore(parents["tokens"], "passages", options["passage_length"])
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), len(queries), len(passages))
    encoder = _starting_encoder(stage, runtime).to(device)
    lengths = parents["tokens"].facts
    encoder.require_length(max(lengths["query_length"], lengths["passage_length"]))  # it will encode them all
    if options["gradient_checkpointing"]:
        encoder.checkpoint_gradients()

    negatives = parents["negatives"].path(FILE) if "negatives" in parents else None
    pairs = StaticPairs.of(settings, negatives, judged, len(passages))
    loss_of = function_of("loss", settings["loss"])

    def compute_loss(step: int, log: Log) -> torch.Tensor:
        rows, columns, in_batch, hard, relevant = pairs.at(step)
        query = encode_rows(encoder, queries, rows, options["rows_per_forward"], device)
        passage = encode_rows(encoder, passages, columns, options["rows_per_forward"], device)
        with torch.autocast(device.type, enabled=False):  # mixed precision is for the encoder
            scores = query @ passage.T / encoder.temperature
        masks = (torch.from_numpy(compared & ~relevant).to(device) for compared in (in_batch, hard))
        loss: torch.Tensor = loss_of(scores, scores.diagonal(), *masks)
        return loss

    total = total_steps(options["steps"], options["epochs"], len(pairs.trainable), options["batch_size"])
    first, end = function_of("refresh", settings["refresh"])(total, settings["round"])
    accelerator = new_accelerator(device, settings["precision"], runtime["trackers"], stage.folder)
    label = stage.record["label"]
    log = fit(
        encoder,
        compute_loss,
        stage,
        Budget(first, end, total),
        accelerator,
        checkpoint_seconds=runtime["checkpoint_seconds"],
        label=f"train {label}",
        continues=parents["continues"].path(HANDOVER) if "continues" in parents else None,
    )
    stage.facts |= {"dim": encoder.dim, "first_step": first, "steps": end - first, "queries": len(pairs.trainable)}
    return [*encoder.save(stage.folder), *write_log(log, stage.folder), *([HANDOVER] if end < total else [])]


def _starting_encoder(stage: StageFolder, runtime: dict[str, Any]) -> Encoder:
    for role in ("continues", "init"):
        if role in stage.parents:
            return Encoder.load(stage.parents[role])
    template, lengths = stage.parents["tokenizer"].facts, stage.parents["tokens"].facts
    return initial_encoder(
        stage.settings["encoder"],
        template["vocabulary"],
        template["pad"],
        max(lengths["passage_length"], lengths["query_length"]),
        runtime["places"].get("backbone"),
        stage.settings["seed"],
    )
