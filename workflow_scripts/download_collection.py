"""Download a collection's files, checked by their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.data.download import Remote, fetch
from hardneg.data.readers import FETCHED
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Fetch them."""
    names = []
    for file in stage.settings["download"]:
        fetched = fetch(Remote(**file), stage.folder / FETCHED, progress=stage.folder / PROGRESS)
        names += [path.relative_to(stage.folder).as_posix() for path in fetched]
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
