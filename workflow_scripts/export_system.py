"""Write a finished system for other tools: encoders, vectors, runs and a model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.export.export import export
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Write it."""
    return export(stage)


if __name__ == "__main__":
    stage_command(run, __doc__)
