"""Reorder a ranking by LambdaMART."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.data.template import Reading
from hardneg.retrieval.letor import MODEL, passages_in, ranked_by
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import passage_texts, query_texts
from hardneg.text.words import read_words
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Reorder it."""
    collection, names = stage.parents["collection"], list[str]()
    reading = Reading(stage.settings["passage_template"], separator=" ")
    for split in stage.settings["splits"]:
        names.append(f"run.{split}.parquet")
        first = stage.parents["run"].path(names[-1])
        words = read_words(query_texts(collection, split), passage_texts(collection, reading), passages_in(first))
        label = f"rank {stage.record['label']} {split}"
        model = stage.parents["model"].path(MODEL)
        with RunWriter(stage.folder / names[-1]) as writer:
            for part in ranked_by(model, first, words, label, stage.folder / PROGRESS):
                writer.append(*part)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
