"""Train a late interaction."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.stages.artifacts import StageFolder
from hardneg.training.launch import trained
from workflow_scripts.command import stage_command
from workflow_scripts.told import nothing_learnt


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    names = trained(stage, runtime, devices)
    for line in nothing_learnt(stage.folder / "loss.csv"):
        print(f"warning: {line}", file=sys.stderr)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
