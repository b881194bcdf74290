"""Tokenize all passages and queries once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import tokenize
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Tokenize."""
    collection, tokenizer = stage.parents["collection"], stage.parents["tokenizer"]
    names, facts = tokenize(stage.settings, stage.folder, collection, tokenizer, stage.folder / PROGRESS)
    stage.facts |= facts
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
