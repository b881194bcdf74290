"""Cluster the training queries by their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.retrieval.clusters import CLUSTERS, cluster
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Cluster them."""
    settings = stage.settings
    queries = stage.parents["queries"].path(f"queries.{settings['split']}.npy")
    stage.facts |= cluster(queries, settings["clusters"], settings["seed"], stage.folder / CLUSTERS)
    return [CLUSTERS]


if __name__ == "__main__":
    stage_command(run, __doc__)
