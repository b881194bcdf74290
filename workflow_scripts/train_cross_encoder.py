"""Train a cross-encoder, or take the backbone's as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.model.cross_encoder import CrossEncoder
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command
from workflow_scripts.training import train


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    if stage.settings["trains"] == "nothing":
        return CrossEncoder.starting(stage, runtime, trained=True).save(stage.folder)
    return train(stage, runtime, devices)


if __name__ == "__main__":
    stage_command(run, __doc__)
