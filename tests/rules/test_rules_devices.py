"""Training scripts on the devices that they were granted, here pretended ones, and when they are told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from made_stages import TRAIN, Stages
from safetensors.numpy import load_file

from hardneg.stages.artifacts import Artifact
from hardneg.stages.stage import Stage

WEIGHTS = "encoder/backbone/model.safetensors"
PATIENCE = 300.0


@pytest.fixture(autouse=True)
def four_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDNEG_PRETEND_DEVICES", "4")
    monkeypatch.setenv("HARDNEG_LEASE_DIR", str(tmp_path / "leases"))


def command_of(stages: Stages, stage: Stage, folder: Path, granted: int, **train: int) -> list[str]:
    """What a rule calls where eight devices are asked for, and the folder of another run."""
    record = stage.record
    record = {**record, "settings": {**record["settings"], "train": {**record["settings"]["train"], **train}}}
    runtime = {**json.loads(stages.runtime), "gpus_per_training": 8}
    ((script, *arguments),) = stages.commands(stage)
    changed = {
        "--record": json.dumps(record),
        "--runtime": json.dumps(runtime),
        "--gpus": str(granted),
        "--output": str(folder / "manifest.json"),
    }
    for name, value in changed.items():
        arguments[arguments.index(name) + 1] = value
    return [script, *arguments]


def test_what_was_granted_trains_the_same_batch(stages: Stages, tmp_path: Path) -> None:
    """Of eight devices that the configuration names, a run with fewer grants two."""
    stage, one = stages.stage("dual_encoder", "bm25neg"), stages.made("dual_encoder", "bm25neg")
    said = stages.call_apart(command_of(stages, stage, tmp_path, granted=2))
    assert said.status == 0, said.err
    expected = f"training in 2 of 8 processes (devices granted: 2); a step takes {TRAIN['batch_size']} queries"
    assert said.out.count(expected) == 1
    several = Artifact.open(tmp_path / "manifest.json")
    cost = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    assert (cost["devices"], cost["visible"]) == (2, ["0", "1"])
    assert several.facts == one.facts and several.manifest["files"].keys() == one.manifest["files"].keys()
    before, after = load_file(one.path(WEIGHTS)), load_file(several.path(WEIGHTS))
    assert max(float(np.abs(before[name] - after[name]).max()) for name in before) <= 1e-5


def started(stages: Stages, folder: Path, granted: int, steps: int) -> subprocess.Popen[bytes]:
    """A training that has begun its steps, in a process group of its own."""
    stage = stages.stage("dual_encoder", "bm25neg")
    for parent in stage.parents.values():
        stages.make(parent)
    script, *arguments = command_of(stages, stage, folder, granted, steps=steps)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        run = subprocess.Popen(
            [sys.executable, "-m", f"workflow_scripts.{script}", *arguments],
            cwd=stages.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    end, progress = time.monotonic() + PATIENCE, folder / "progress.jsonl"
    while not (progress.exists() and progress.stat().st_size):
        assert run.poll() is None and time.monotonic() < end, (folder / "err").read_text(encoding="utf-8")
        time.sleep(0.05)
    return run


def left_of(group: int) -> list[int]:
    """The processes of a group that run, without those that only wait to be counted out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = entry.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(entry.parent.name))
    return found


def wait_until_gone(group: int) -> None:
    end = time.monotonic() + PATIENCE
    while found := left_of(group):
        assert time.monotonic() < end, f"left of the training: {found}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("granted", "number"), [(2, signal.SIGTERM), (1, signal.SIGUSR1)], ids=["two-processes", "one-process"]
)
def test_a_signal_ends_a_training_with_a_checkpoint(
    stages: Stages, tmp_path: Path, granted: int, number: signal.Signals
) -> None:
    run = started(stages, tmp_path, granted, steps=1_000_000)
    run.send_signal(number)
    assert run.wait(PATIENCE) == os.EX_TEMPFAIL
    wait_until_gone(run.pid)
    told = (tmp_path / "err").read_text(encoding="utf-8")
    assert f"stopped by {number.name}" in told and "The same command goes on" in told and "Traceback" not in told
    assert not (tmp_path / "manifest.json").exists() and not list(tmp_path.rglob("*.tmp"))
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    step = int(checkpoint.stem.partition("-")[2])
    if granted > 1:  # fewer processes go on too
        stage = stages.stage("dual_encoder", "bm25neg")
        said = stages.call_apart(command_of(stages, stage, tmp_path, granted=1, steps=step + 2))
        assert said.status == 0, said.err
        assert f"resuming train bm25neg at step {step}\n" in said.out
        assert Artifact.open(tmp_path / "manifest.json").facts["steps"] == step + 2


def test_no_process_outlives_a_killed_job(stages: Stages, tmp_path: Path) -> None:
    run = started(stages, tmp_path, granted=2, steps=1_000_000)
    assert len(left_of(run.pid)) > 2
    run.kill()
    assert run.wait(PATIENCE) == -signal.SIGKILL
    wait_until_gone(run.pid)
    assert not (tmp_path / "manifest.json").exists()
