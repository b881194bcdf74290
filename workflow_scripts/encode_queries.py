"""Encode the queries of some splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.model.embedding import encode_queries
from hardneg.model.encoder import Encoder
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import TokenStore
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Encode them."""
    settings, encoder, names = stage.settings, Encoder.load(stage.parents["model"]), []
    for split in settings["splits"]:
        names.append(f"queries.{split}.npy")
        encode_queries(
            encoder,
            TokenStore(stage.parents["tokens"], f"queries.{split}"),
            stage.folder / names[-1],
            precision=settings["precision"],
            device=torch.device(devices[0]),
            label=f"encode {stage.record['label']} {split} queries",
            progress=stage.folder / PROGRESS,
        )
    stage.facts["dim"] = encoder.dim
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
