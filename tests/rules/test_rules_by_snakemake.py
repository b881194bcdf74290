"""Rules that the runs of tests/pipeline have no job of: Snakemake makes what the scripts made, byte for byte."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from conftest import Project
from made_stages import Stages

from hardneg.stages.artifacts import Artifact
from hardneg.stages.kinds import KINDS
from hardneg.stages.stage import Stage

LONG_AGO = 1_700_000_000

# Of kinds that read each other, so that all are made in one run.
AGAIN = ("cross_encoder", "rerank", "pair_scores", "clusters", "given_vectors", "trajectory", "negatives_export")


def with_parents(stage: Stage) -> set[Stage]:
    """A stage and all that it reads, and that these read."""
    return {stage}.union(*(with_parents(parent) for parent in stage.parents.values()))


def test_snakemake_makes_the_same(stages: Stages, tmp_path: Path) -> None:
    again = [stages.stage(kind) for kind in AGAIN]
    made = {stage: stages.make(stage) for stage in again}
    for stage in set().union(*map(with_parents, again)):
        shutil.copytree(stages.folder / stage.folder, tmp_path / stage.folder)
    for path in stages.folder.iterdir():
        if path.name == "data":
            shutil.copytree(path, tmp_path / "data")
        elif path.is_file():
            shutil.copy2(path, tmp_path)
    project = Project(tmp_path)
    project.write_config(stages.config)
    for stage in again:
        shutil.rmtree(tmp_path / stage.folder)
    # Other tests make stages again, in any order: parents must not look newer than what reads them.
    for place, stage in enumerate(stages.plan.stages):
        for path in (tmp_path / stage.folder).rglob("*"):
            os.utime(path, (LONG_AGO + place, LONG_AGO + place))
    targets = [str(stage.manifest) for stage in again]
    assert project.jobs(*targets) == {KINDS[kind].script: 1 for kind in AGAIN}
    project.snakemake(*targets)
    for stage, expected in made.items():
        found = Artifact.open(tmp_path / stage.manifest)
        assert found.manifest == expected.manifest
