"""Repeat the words of all passages as often as their weights say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer

from hardneg.model.term_weights import TermWeights
from hardneg.retrieval.weighted import Weighing, write_weighted
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.terms import WEIGHTED, reader_of, reading_of
from hardneg.text.tokens import passage_texts
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Write them."""
    settings, collection, tokenizer = stage.settings, stage.parents["collection"], stage.parents["tokenizer"]
    read = reader_of(AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer"), tokenizer.facts, settings["length"])
    model = TermWeights.load(stage.parents["model"])
    device = torch.device(devices[0])
    how = Weighing(model, read, tokenizer.facts["pad"], settings["scale"], device, settings["precision"])
    passages = passage_texts(collection, reading_of(settings["passage_template"], tokenizer.facts))
    label = f"weigh {stage.record['label']}"
    count = collection.facts["passages"]
    stage.facts |= write_weighted(passages, count, how, stage.folder / WEIGHTED, label, stage.folder / PROGRESS)
    if beyond := stage.facts["beyond"]:
        print(
            f"warning: {beyond:,} of {stage.facts['words']:,} words lie beyond encoder.passage_length and are not "
            "indexed",
            file=sys.stderr,
        )
    return [WEIGHTED]


if __name__ == "__main__":
    stage_command(run, __doc__)
