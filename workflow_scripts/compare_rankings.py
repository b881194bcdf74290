"""Compare what all systems rank at the top: judged, unjudged, and agreed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.analysis.agreement import agreement
from hardneg.stages.artifacts import StageFolder, write_table
from workflow_scripts.command import stage_command

FILE = "agreement.parquet"
ROLE = "run."


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Compare them."""
    parents, settings = stage.parents, stage.settings
    ranked = f"run.{settings['split']}.parquet"
    runs = {role.removeprefix(ROLE): run.path(ranked) for role, run in sorted(parents.items()) if role.startswith(ROLE)}
    table = agreement(parents["collection"], runs=runs, **settings)
    write_table(stage.folder / FILE, table)
    return [FILE]


if __name__ == "__main__":
    stage_command(run, __doc__)
