"""Compare what all systems rank at the top: judged, unjudged, and agreed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardneg.analysis.agreement import agreement
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact, StageFolder, write_table
from workflow_scripts.command import stage_command

FILE = "agreement.parquet"
ROLE = "run."


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Compare them."""
    parents, settings = _by_role(stage, [Artifact.open(path) for path in runtime["stages"]]), stage.settings
    ranked = f"run.{settings['split']}.parquet"
    runs = {role.removeprefix(ROLE): run.path(ranked) for role, run in parents.items() if role.startswith(ROLE)}
    table = agreement(parents["collection"], runs=runs, **settings)
    write_table(stage.folder / FILE, table)
    return [FILE]


def _by_role(stage: StageFolder, given: Sequence[Artifact]) -> dict[str, Artifact]:
    """The stages that the record names as parents, told by their versions."""
    versions = {artifact.manifest["version"]: artifact for artifact in given}
    for role, version in stage.record["parents"].items():
        if version not in versions:
            raise HardnegError(
                "A stage that is compared is not given.",
                where="--stages",
                found=", ".join(versions) or "none",
                expected=f"{version}, for {role}",
                remedy="run the workflow again; it makes the right version.",
            )
    return {role: versions[version] for role, version in stage.record["parents"].items()}


if __name__ == "__main__":
    stage_command(run, __doc__, {}, lists={"stages": "the collection and the runs of all systems"})
