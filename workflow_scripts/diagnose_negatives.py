"""Diagnose the negatives of a system: what it mined at which rank, what is likely false, what its batches compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.analysis.diagnosis import diagnose
from hardneg.stages.artifacts import StageFolder, write_table
from workflow_scripts.command import stage_command

FILE = "by_rank.parquet"


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Diagnose them; there is no file where nothing was mined."""
    table, facts = diagnose(stage.parents, stage.settings)
    stage.facts |= facts
    if table is None:
        return []
    write_table(stage.folder / FILE, table)
    return [FILE]


if __name__ == "__main__":
    stage_command(run, __doc__)
