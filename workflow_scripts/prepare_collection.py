"""Prepare a collection: Parquet files of passages, queries and judgements, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.artifacts import PROGRESS, StageFolder
from hardneg.data.prepare import prepare
from hardneg.data.readers import open_collection
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Prepare it."""
    settings = stage.settings
    reader = open_collection(settings, runtime["places"].get("collection"), runtime["threads"])
    names, facts = prepare(reader, stage.folder, settings["splits"], settings["train"], stage.folder / PROGRESS)
    stage.facts |= facts
    return names


if __name__ == "__main__":
    stage_command(run, __doc__, {}, {"threads": "processes that read sources"})
