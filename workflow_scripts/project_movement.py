"""Project a query on its way to its passages, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hardneg.analysis.movement import movement
from hardneg.stages.artifacts import PROGRESS, StageFolder, atomic_path, write_table
from workflow_scripts.command import stage_command

FILE, INPUTS = "movement.parquet", "inputs.npy"


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Project it."""
    progress = stage.folder / PROGRESS
    points, inputs, facts = movement(stage.parents, stage.settings, torch.device(devices[0]), progress)
    write_table(stage.folder / FILE, points)
    with atomic_path(stage.folder / INPUTS) as temporary, temporary.open("wb") as stream:
        np.save(stream, inputs)
    stage.facts |= facts
    return [FILE, INPUTS]


if __name__ == "__main__":
    stage_command(run, __doc__)
