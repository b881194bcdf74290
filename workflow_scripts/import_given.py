"""Take the negatives and scores that the collection itself gives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.retrieval.given_lists import given_lists
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Take them."""
    settings, (split,) = stage.settings, stage.settings["splits"]
    names, counts = given_lists(stage.parents["collection"], split, settings["depth"], settings["needed"], stage.folder)
    if settings["depth"] and (left := counts.negatives - counts.taken):
        print(f"warning: given negatives beyond the source's depth: {left:,} of {counts.negatives:,}", file=sys.stderr)
    stage.facts |= counts._asdict()
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
