"""The command for a machine with GPUs, on one without, and with four pretended ones."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Project

from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import Artifact

COMMAND = ["snakemake", "--cores", "all", "--resources", "gpu=4"]


def costs(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """The cost records in a stage's folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(pattern))]


def clone_of(project: Project, folder: Path) -> Project:
    """A checkout whose config.yaml is the project's, with what the project has made."""
    shutil.copytree(project.folder, folder, symlinks=True)
    for name in ("rules", "workflow_scripts", "hardneg", "envs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return Project(folder, folder)


def test_the_command_word_for_word(finished: Project, tmp_path: Path) -> None:
    clone = clone_of(finished, tmp_path / "clone")
    stage = clone.stage("queries", "adore_star")
    vectors = (stage / "queries.test.npy").read_bytes()
    for folder in (stage, clone.stage("run", "adore_star"), clone.stage("measure", "adore_star")):
        shutil.rmtree(folder)
    shutil.rmtree(clone.folder / "results")
    done = subprocess.run(
        COMMAND, cwd=clone.folder, env=clone.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (stage / "queries.test.npy").read_bytes() == vectors
    assert clone.measures() == finished.measures()
    again = subprocess.run(
        COMMAND, cwd=clone.folder, env=clone.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of leases of a machine with four pretended devices."""
    monkeypatch.setenv("HARDNEG_PRETEND_DEVICES", "4")
    monkeypatch.setenv("HARDNEG_LEASE_DIR", str(tmp_path / "leases"))
    return tmp_path / "leases"


def test_four_jobs_lease_a_device_each(project: Project, leases: Path) -> None:
    stage = project.stage("passages", "star")
    before = vectors_of(Artifact.open(stage / "manifest.json"))
    expected = before.block(0, len(before))
    shutil.rmtree(stage)
    project.snakemake(
        str(stage.relative_to(project.folder) / "manifest.json"),
        *("--resources", "gpu=4", "--config", "runtime={shards: 4}"),
        cores=4,
    )
    shards = costs(stage, "shard-*.cost.json")
    assert [cost["devices"] for cost in shards] == [1] * 4
    leased = {device for cost in shards for device in cost["visible"]}
    assert leased
    assert leased <= set("0123")
    assert {path.name for path in leases.iterdir()} >= {f"{name}.lock" for name in leased}
    after = vectors_of(Artifact.open(stage / "manifest.json"))
    assert np.array_equal(after.block(0, len(after)), expected)


def test_one_job_searches_on_all_four(project: Project, leases: Path) -> None:
    stage = project.stage("run", "adore_star")
    manifest = str(stage.relative_to(project.folder) / "manifest.json")
    ranked = (stage / "manifest.json").read_bytes()
    project.snakemake(
        manifest,
        *("--resources", "gpu=4", "--config", "runtime={gpus_per_search: 4}", "--forcerun", manifest),
    )
    (cost,) = costs(stage, "cost.json")
    assert (cost["devices"], cost["visible"]) == (4, ["0", "1", "2", "3"])
    assert (stage / "manifest.json").read_bytes() == ranked
