"""Take rankings that were made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardneg.retrieval.given import import_run
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Take them."""
    names, places = [], runtime["places"]["runs"]
    for split in stage.settings["splits"]:
        names.append(f"run.{split}.parquet")
        stage.facts[split] = import_run(
            Path(places[split]),
            stage.parents["collection"],
            split,
            stage.settings["depth"],
            stage.folder / names[-1],
            stage.folder / PROGRESS,
        )
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
