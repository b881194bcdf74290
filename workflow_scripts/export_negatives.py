"""Write the mined negatives of a system as rows for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.export.negatives import export_negatives
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Write them."""
    return export_negatives(stage)


if __name__ == "__main__":
    stage_command(run, __doc__)
