"""Take vectors that were made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardneg.retrieval.given import import_vectors
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Take them."""
    places, collection, progress = runtime["places"]["vectors"], stage.parents["collection"], stage.folder / PROGRESS
    ids = places["passage_ids"]
    shard = "passages-0000-of-0001.npy"
    rows, dim, dtype = import_vectors(
        [Path(path) for path in places["passages"]],
        Path(ids) if ids else None,
        collection.path("passages.parquet"),
        "passage_id",
        stage.folder / shard,
        progress,
    )
    stage.facts |= {"rows": rows, "dim": dim, "dtype": dtype, "shards": [shard]}
    names = [shard]
    for split in stage.settings["splits"]:
        ids = places["query_ids"].get(split)
        names.append(f"queries.{split}.npy")
        import_vectors(
            [Path(places["queries"][split])],
            Path(ids) if ids else None,
            collection.path(f"queries.{split}.parquet"),
            "query_id",
            stage.folder / names[-1],
            progress,
        )
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
