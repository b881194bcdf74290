"""Follow a query encoder through its training: its effectiveness, and its static negatives against the live ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.analysis.trajectory import trajectory
from hardneg.stages.artifacts import PROGRESS, StageFolder, write_table
from workflow_scripts.command import stage_command

FILE, BY_QUERY = "trajectory.parquet", "per_query.parquet"


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Follow it."""
    places, progress = [torch.device(name) for name in devices], stage.folder / PROGRESS
    rows, by_query = trajectory(stage.parents, stage.settings, places, progress)
    write_table(stage.folder / FILE, rows)
    write_table(stage.folder / BY_QUERY, by_query)
    return [FILE, BY_QUERY]


if __name__ == "__main__":
    stage_command(run, __doc__)
