"""Prepare a collection: Parquet files of passages, queries and judgements, checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.data.prepare import prepare, repairs
from hardneg.data.readers import FETCHED, open_collection
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Prepare it."""
    settings, windows = stage.settings, stage.settings["windows"]
    reader = open_collection(
        runtime["places"]["collection"],
        settings["train"],
        stage.parents["files"].folder / FETCHED if "files" in stage.parents else None,
        runtime["threads"],
    )
    names, facts = prepare(
        reader,
        stage.folder,
        settings["splits"],
        settings["train"],
        stage.folder / PROGRESS,
        (windows["words"], windows["overlap"]) if windows else None,
        settings["own_passages"],
    )
    least = runtime.get("least_passages")
    if least and facts["passages"] < least["rows"]:
        raise HardnegError(
            "The collection is too small to train its index on.",
            where=least["where"],
            found=f"{facts['passages']:,} passages for {least['factory']}",
            expected=f"at least {least['rows']:,}",
            remedy="choose fewer lists or bits (IVF64, PQ16x4), or Flat, which a small collection is served best by.",
        )
    stage.facts |= facts
    for repair in repairs(facts):
        print(f"warning: {repair}", file=sys.stderr)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__, options={"threads": "processes that read sources"})
