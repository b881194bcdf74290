"""Cut the vectors of passages or of queries to their first numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.model.narrow import narrow_file
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Cut them."""
    vectors, settings = stage.parents["vectors"], stage.settings
    names = sorted(name for name in vectors.manifest["files"] if name.endswith(".npy"))
    for name in names:
        narrow_file(vectors.path(name), stage.folder / name, settings["width"], settings["normalize"])
    stage.facts |= {**vectors.facts, "dim": settings["width"]}
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
