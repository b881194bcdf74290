"""Seal the shards of the passage vectors once all are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Check that the shards follow on each other, and seal them."""
    shards = [Artifact.open(path) for path in runtime["markers"]]
    shards.sort(key=lambda shard: shard.facts["first"])
    end = 0
    for shard in shards:
        if shard.facts["first"] != end:
            raise HardnegError(
                "Shards of the passage vectors do not follow on each other.",
                where=str(stage.folder),
                found=f"rows {end} and {shard.facts['first']}",
                remedy="delete that folder and run the workflow again.",
            )
        end = shard.facts["end"]
    rows = stage.parents["tokens"].facts["texts"]["passages"]["count"]
    if end != rows:
        raise HardnegError(
            "The shards do not hold all passages.",
            where=str(stage.folder),
            found=f"{end:,} rows",
            expected=f"{rows:,} rows",
            remedy="delete that folder and run the workflow again.",
        )
    names = [name for shard in shards for name in shard.manifest["files"] if shard.facts["end"] > shard.facts["first"]]
    stage.facts |= {"rows": end, "dim": shards[0].facts["dim"], "dtype": stage.settings["dtype"], "shards": names}
    return names


if __name__ == "__main__":
    stage_command(run, __doc__, lists={"markers": "the markers of all shards"})
