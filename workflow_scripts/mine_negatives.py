"""Mine static negatives: a ranking of the training queries less judged positives, filtered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.axes import function_of
from hardneg.data.judgements import Judgements
from hardneg.retrieval.mine import FILE, mine
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Mine."""
    collection, split = stage.parents["collection"], stage.settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages)
    keep = function_of("filter", stage.settings["filter"])
    stage.facts |= mine(stage.parents["run"].path(f"run.{split}.parquet"), judged, queries, keep, stage.folder / FILE)
    return [FILE]


if __name__ == "__main__":
    stage_command(run, __doc__, {"collection": "the prepared collection", "run": "the ranking to mine"})
