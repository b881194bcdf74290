"""Train LambdaMART on the candidates of the training queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.data.judgements import Judgements
from hardneg.data.template import Reading
from hardneg.retrieval.letor import MODEL, passages_in, train_ranker
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import passage_texts, query_texts
from hardneg.text.words import read_words
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train it."""
    collection, settings, split = stage.parents["collection"], stage.settings, stage.settings["split"]
    counts = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    candidates = stage.parents["run"].path(f"run.{split}.parquet")
    reading = Reading(settings["passage_template"], separator=" ")
    texts = query_texts(collection, split), passage_texts(collection, reading)
    words = read_words(*texts, passages_in(candidates))
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), *counts)
    stage.facts |= train_ranker(candidates, words, judged, settings, stage.folder / MODEL)
    return [MODEL]


if __name__ == "__main__":
    stage_command(run, __doc__)
