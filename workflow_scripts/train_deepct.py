"""Train term weights on the passages that are relevant to training queries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from hardneg.retrieval.languages import detected
from hardneg.retrieval.terms import analysis
from hardneg.stages.artifacts import StageFolder
from hardneg.training.term_weights import train_term_weights
from workflow_scripts.command import stage_command
from workflow_scripts.told import nothing_learnt


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Train."""
    language = stage.settings.get("language") or detected(stage.parents["collection"]).language
    term_of = analysis(language, runtime["java_heap_mib"])
    names = train_term_weights(stage, runtime, torch.device(devices[0]), term_of)
    for line in nothing_learnt(stage.folder / "loss.csv"):
        print(f"warning: {line}", file=sys.stderr)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
