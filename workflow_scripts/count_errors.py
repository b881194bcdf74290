"""Count pairwise errors: for every relevant passage, the passages that wrongly score above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.analysis.pairwise_errors import pairwise_errors
from hardneg.stages.artifacts import PROGRESS, StageFolder, write_table
from workflow_scripts.command import stage_command

FILE = "errors.parquet"


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Count them."""
    progress = stage.folder / PROGRESS
    rows, facts = pairwise_errors(stage.parents, stage.settings, torch.device(devices[0]), progress)
    write_table(stage.folder / FILE, rows)
    stage.facts |= facts
    return [FILE]


if __name__ == "__main__":
    stage_command(run, __doc__)
