"""Rank passages for the queries of some splits: exactly over the vectors, or with the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from hardneg.retrieval.members import retrieve_within
from hardneg.retrieval.runs import RunWriter
from hardneg.retrieval.search.retrieve import open_searcher, retrieve, vectors_of
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command

# From a split to the parts of its ranking, as a `RunWriter` takes them.
Ranking = Callable[[str], Iterator[tuple[Any, ...]]]


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Rank."""
    chosen = [torch.device(name) for name in devices]
    ranking = _within(stage, chosen) if "collection" in stage.parents else _over_all(stage, chosen)
    names = []
    for split in stage.settings["splits"]:
        names.append(f"run.{split}.parquet")
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in ranking(split):
                writer.append(*part)
    return names


def _over_all(stage: StageFolder, devices: list[torch.device]) -> Ranking:
    """Rank all passages for each query."""
    searcher = open_searcher(
        stage.parents.get("passages"), stage.parents.get("index"), devices, search=stage.settings["search"], once=True
    )
    return lambda split: retrieve(
        searcher,
        stage.parents["queries"].path(f"queries.{split}.npy"),
        stage.settings["depth"],
        f"search {stage.record['label']} {split}",
        stage.folder / PROGRESS,
    )


def _within(stage: StageFolder, devices: list[torch.device]) -> Ranking:
    """Rank passages of its own collection for each query, where several were joined."""
    vectors, facts = vectors_of(stage.parents["passages"]), stage.parents["collection"].facts
    return lambda split: retrieve_within(
        vectors,
        facts,
        split,
        stage.parents["queries"].path(f"queries.{split}.npy"),
        stage.settings["depth"],
        devices,
        f"search {stage.record['label']} {split}",
        stage.folder / PROGRESS,
    )


if __name__ == "__main__":
    stage_command(run, __doc__)
