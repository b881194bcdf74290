"""Train the query encoder alone, over passage vectors that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command
from workflow_scripts.training import train


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    return train(stage, runtime, devices)


if __name__ == "__main__":
    stage_command(run, __doc__)
