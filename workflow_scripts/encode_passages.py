"""Encode one shard of the passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.model.embedding import encode_passages, shard_rows
from hardneg.model.encoder import Encoder
from hardneg.model.untied import passage_side
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import TokenStore
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Encode it."""
    settings, shard, shards = stage.settings, runtime["shard"], runtime["of"]
    encoder = Encoder.load(passage_side(stage.parents["model"]))
    store = TokenStore(stage.parents["tokens"], "passages")
    rows = shard_rows(len(store), shard, shards)
    part = f"{shard:04d}-of-{shards:04d}"
    encode_passages(
        encoder,
        store,
        stage.folder / f"passages-{part}.npy",
        rows,
        dtype=settings["dtype"],
        precision=settings["precision"],
        device=torch.device(devices[0]),
        label=f"encode {stage.record['label']} {part}",
        progress=stage.folder / f"{part}.{PROGRESS}",
    )
    stage.facts |= {"first": rows[0], "end": rows[1], "dim": encoder.dim}
    return [f"passages-{part}.npy"]


if __name__ == "__main__":
    stage_command(run, __doc__, options={"shard": "this shard, from 0", "of": "how many shards"})
