"""Build the index that serves: from a FAISS factory string, or from another index and centroids that were trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.retrieval.search.centroids import write_trained
from hardneg.retrieval.search.factory import POINTS_PER_CENTROID
from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Build it."""
    settings, parents = stage.settings, stage.parents
    if "model" in parents:
        facts = write_trained(parents["index"], parents["model"], stage.folder)
        stage.facts |= facts
        return list(facts["files"])
    facts = build_index(
        vectors_of(parents["passages"]),
        settings["factory"],
        stage.folder,
        train_rows=settings["train_rows"],
        seed=0,
        rows_per_file=settings["rows_per_file"],
        progress_file=stage.folder / PROGRESS,
    )
    stage.facts |= facts
    rows, centroids = facts["train_rows"], facts["centroids"]
    if rows < POINTS_PER_CENTROID * centroids:
        print(
            f"warning: {settings['factory']} was trained on {rows:,} vectors, fewer than {POINTS_PER_CENTROID} for each"
            f" of its {centroids:,} centroids: raise train_rows, or choose fewer lists or bits",
            file=sys.stderr,
        )
    return facts["files"]


if __name__ == "__main__":
    stage_command(run, __doc__)
