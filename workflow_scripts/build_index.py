"""Build the index that serves, from a FAISS factory string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.artifacts import PROGRESS, StageFolder
from hardneg.search.index import build_index
from hardneg.search.retrieve import INDEX, vectors_of
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Build it."""
    settings = stage.settings
    stage.facts |= build_index(
        vectors_of(stage.parents["passages"]),
        settings["factory"],
        stage.folder / INDEX,
        train_rows=settings["train_rows"],
        seed=0,
        progress_file=stage.folder / PROGRESS,
    )
    return [INDEX]


if __name__ == "__main__":
    stage_command(run, __doc__, {"passages": "the passage vectors"})
