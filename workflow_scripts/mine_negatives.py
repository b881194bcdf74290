"""Mine static negatives: a ranking of the training queries less judged positives, filtered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.data.judgements import Judgements
from hardneg.methods.axes import function_of
from hardneg.methods.draws import PairScores
from hardneg.retrieval.mine import NEGATIVES, POSITIVES, mine, positives_in
from hardneg.retrieval.pair_scores import FILE
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Mine."""
    collection, settings, split = stage.parents["collection"], stage.settings, stage.settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages)
    ranking, names, scores = stage.parents["run"].path(f"run.{split}.parquet"), [NEGATIVES], None
    if settings["positives"]:
        scored = stage.parents["scores"].path(FILE) if "scores" in stage.parents else None
        stage.facts |= positives_in(ranking, judged, stage.folder / POSITIVES, scored)
        scores = PairScores.read(stage.folder / POSITIVES, passages)
        names.append(POSITIVES)
    filters = [(chosen["name"], function_of("filter", chosen)) for chosen in settings["filter"]]
    stage.facts |= mine(ranking, judged, queries, filters, stage.folder, scores)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
