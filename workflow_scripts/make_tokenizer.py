"""Train the built-in encoder's tokenizer on the collection, or fetch the backbone's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import make_tokenizer
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Make it."""
    backbone = runtime["places"].get("backbone", stage.settings["backbone"])
    names, facts = make_tokenizer(stage.settings, stage.folder, stage.parents.get("collection"), backbone)
    stage.facts |= facts
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
