"""Reorder a ranking by the scores of a cross-encoder or a late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.retrieval.pair_scores import rerank
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command
from workflow_scripts.reading import reader_of


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Reorder it."""
    settings, names = stage.settings, []
    for split in settings["splits"]:
        score = reader_of(stage, split, torch.device(devices[0]))
        names.append(f"run.{split}.parquet")
        label = f"rerank {stage.record['label']} {split}"
        first = stage.parents["run"].path(names[-1])
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in rerank(first, score, label, stage.folder / PROGRESS):
                writer.append(*part)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
