"""Reorder a ranking by the scores of a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.model.cross_encoder import CrossEncoder
from hardneg.retrieval.pair_scores import ROWS, by_cross_encoder, rerank
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.pairs import PairStore
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Reorder it."""
    settings, names = stage.settings, []
    model = CrossEncoder.load(stage.parents["model"])
    for split in settings["splits"]:
        pairs = PairStore(stage.parents["tokens"], split, {"query_length": None, "passage_length": None})
        score = by_cross_encoder(model, pairs, ROWS, torch.device(devices[0]), settings["precision"])
        names.append(f"run.{split}.parquet")
        label = f"rerank {stage.record['label']} {split}"
        first = stage.parents["run"].path(names[-1])
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in rerank(first, score, label, stage.folder / PROGRESS):
                writer.append(*part)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
