"""ADORE (Zhan et al., section 4.2): the query encoder alone, on what it retrieves at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hardneg.artifacts import StageFolder
from hardneg.axes import function_of
from hardneg.data.judgements import Judgements
from hardneg.encoder import Encoder, encode_rows
from hardneg.search.retrieve import Searcher, open_searcher, vectors_of
from hardneg.tokens import TokenStore
from hardneg.training.loop import Budget, Log, fit, new_accelerator, rows_of_step, write_log
from hardneg.training.schedule import total_steps


def train(stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device]) -> list[str]:
    """Train a copy of the encoder for queries only and write it into the stage's folder.

    At every step the queries are encoded with dropout on, the top `depth` passages are retrieved under those very
    vectors, positives that were not retrieved join the list, and the loss over the list flows back into the query
    encoder; passage vectors never change. Every `log_retrieved_every` steps the queries, their vectors and what was
    retrieved are kept (`kept.safetensors`), so that the top-k can be recomputed.

    Args:
        stage: settings `source` (live), `loss`, `train`, `seed`, `split`, `precision`; parents `collection`, `tokens`,
            `init`, `passages`, `index`.
        runtime: `checkpoint_seconds`, `trackers`.
        devices: the encoder trains on the first; all of them search.

    Returns:
        The names of the files written.
    """
    settings, parents, device = stage.settings, stage.parents, devices[0]
    options, seed, split = settings["train"], settings["seed"], settings["split"]
    queries = TokenStore(parents["tokens"], f"queries.{split}", options["query_length"])
    vectors = vectors_of(parents["passages"])
    judged = Judgements.read(parents["collection"].path(f"qrels.{split}.parquet"), len(queries), len(vectors))
    searcher: Searcher = open_searcher(parents["passages"], parents["index"], devices, options["batch_size"])
    encoder = Encoder.load(parents["init"]).to(device)
    encoder.require_length(queries.longest)
    if options["gradient_checkpointing"]:
        encoder.checkpoint_gradients()
    source = {key: value for key, value in settings["source"].items() if key != "depth"}
    listed_of, depth = function_of("source", source), settings["source"]["depth"]
    loss_of, cut = function_of("loss", settings["loss"]), settings["loss"].get("cut")
    trainable = judged.with_positives()

    def compute_loss(step: int, log: Log) -> torch.Tensor:
        rows = rows_of_step(trainable, step, options["batch_size"], seed)
        query = encode_rows(encoder, queries, rows, options["rows_per_forward"], device)
        found, scores_found = searcher.search(query, depth)
        retrieved = found.cpu().numpy()
        if (step + 1) % options["log_retrieved_every"] == 0:
            log.kept |= {
                f"{step + 1:06d}.queries": torch.from_numpy(rows.astype(np.int64)),
                f"{step + 1:06d}.vectors": query.detach().cpu(),
                f"{step + 1:06d}.retrieved": torch.from_numpy(retrieved),
                f"{step + 1:06d}.scores": scores_found.cpu(),
            }
        passages, grades = listed_of(retrieved, rows, judged)
        listed = passages >= 0
        taken = torch.from_numpy(vectors.take(np.maximum(passages, 0).ravel())).view(*passages.shape, -1).to(device)
        with torch.autocast(device.type, enabled=False):  # mixed precision is for the encoder
            scores = torch.einsum("qd,qld->ql", query, taken) / encoder.temperature
        ideal = torch.from_numpy(ideal_dcg(judged, rows, cut)).to(device)
        loss: torch.Tensor = loss_of(
            scores, torch.from_numpy(grades).to(device), torch.from_numpy(listed).to(device), ideal
        )
        return loss

    total = total_steps(options["steps"], options["epochs"], len(trainable), options["batch_size"])
    accelerator = new_accelerator(device, settings["precision"], runtime["trackers"], stage.folder)
    log = fit(
        encoder,
        compute_loss,
        stage,
        Budget(0, total, total),
        accelerator,
        checkpoint_seconds=runtime["checkpoint_seconds"],
        label=f"train {stage.record['label']}",
    )
    stage.facts |= {"dim": encoder.dim, "steps": total, "queries": len(trainable)}
    return [*encoder.save(stage.folder), *write_log(log, stage.folder)]


def ideal_dcg(judged: Judgements, queries: np.ndarray, cut: int | None) -> np.ndarray:
    """The best possible DCG@cut of each query, linear gain (trec_eval's): float32 [n]."""
    best = np.zeros(len(queries), np.float32)
    for row, query in enumerate(queries):
        grades = np.sort(judged.of(int(query))[1])[::-1][:cut]
        best[row] = (grades / np.log2(np.arange(2, len(grades) + 2))).sum()
    return best
