"""Tokenize all passages and queries once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hardneg.stages.artifacts import PROGRESS, Artifact, StageFolder
from hardneg.text.tokens import tokenize
from workflow_scripts.command import stage_command
from workflow_scripts.told import unknown_tokens

LOOKED_AT = 5_000_000  # token ids of each kind of text


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Tokenize."""
    collection, tokenizer = stage.parents["collection"], stage.parents["tokenizer"]
    names, facts = tokenize(stage.settings, stage.folder, collection, tokenizer, stage.folder / PROGRESS)
    stage.facts |= facts
    unknown = unknown_id(tokenizer)
    for name in facts["texts"]:
        ids = np.fromfile(stage.folder / f"{name}.ids.bin", facts["dtype"], LOOKED_AT)
        for line in unknown_tokens(name, ids, unknown):
            print(f"warning: {line}", file=sys.stderr)
    return names


def unknown_id(tokenizer: Artifact) -> int | None:
    """The token id for what the tokenizer does not know."""
    from transformers import AutoTokenizer

    number: int | None = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer").unk_token_id
    return number


if __name__ == "__main__":
    stage_command(run, __doc__)
