"""Rank passages for the queries of some splits: exactly over the vectors, or with the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardneg.retrieval.members import retrieve_within
from hardneg.retrieval.runs import RunWriter
from hardneg.retrieval.search.retrieve import open_searcher, retrieve, vectors_of
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Rank."""
    if "collection" in stage.parents:
        return _within(stage, [torch.device(name) for name in devices])
    searcher = open_searcher(
        stage.parents.get("passages"),
        stage.parents.get("index"),
        [torch.device(name) for name in devices],
        search=stage.settings["search"],
    )
    names = []
    for split in stage.settings["splits"]:
        ranking = retrieve(
            searcher,
            stage.parents["queries"].path(f"queries.{split}.npy"),
            stage.settings["depth"],
            f"search {stage.record['label']} {split}",
            stage.folder / PROGRESS,
        )
        names.append(f"run.{split}.parquet")
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in ranking:
                writer.append(*part)
    return names


def _within(stage: StageFolder, devices: Sequence[torch.device]) -> list[str]:
    """Rank passages of its own collection for each query, where several were joined."""
    names = []
    for split in stage.settings["splits"]:
        ranking = retrieve_within(
            vectors_of(stage.parents["passages"]),
            stage.parents["collection"].facts,
            split,
            stage.parents["queries"].path(f"queries.{split}.npy"),
            stage.settings["depth"],
            devices,
            f"search {stage.record['label']} {split}",
            stage.folder / PROGRESS,
        )
        names.append(f"run.{split}.parquet")
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in ranking:
                writer.append(*part)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
