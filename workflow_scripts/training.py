"""What the training commands share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.stages.artifacts import StageFolder
from hardneg.training.launch import trained
from workflow_scripts.told import nothing_learnt


def train(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train what the stage says, and tell if it learnt nothing; the names of the files written."""
    names = trained(stage, runtime, devices)
    for line in nothing_learnt(stage.folder / "loss.csv"):
        print(f"warning: {line}", file=sys.stderr)
    return names
