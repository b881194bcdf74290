"""Train both encoders (one set of weights) with static or in-batch negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.stages.artifacts import StageFolder
from hardneg.training.dual_encoder import train
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    return train(stage, runtime, torch.device(devices[0]))


if __name__ == "__main__":
    stage_command(
        run,
        __doc__,
        {
            "collection": "the prepared collection",
            "tokenizer": "the tokenizer",
            "tokens": "the tokens",
            "negatives": "mined negatives",
            "init": "the model it starts from",
            "continues": "the round it continues",
        },
    )
