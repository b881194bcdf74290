"""Train the query encoder alone over frozen passage vectors, on the live index (ADORE) or on static lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.stages.artifacts import StageFolder
from hardneg.training.query_encoder import train
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    return train(stage, runtime, [torch.device(name) for name in devices])


if __name__ == "__main__":
    stage_command(
        run,
        __doc__,
        {
            "collection": "the prepared collection",
            "tokens": "the tokens",
            "init": "the model it starts from",
            "passages": "the frozen passage vectors",
            "index": "their index",
            "negatives": "mined negatives, for static lists",
            "continues": "the round it continues",
        },
    )
