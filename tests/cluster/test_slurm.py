"""The small study under a real Slurm: what is cancelled or killed for memory goes on, to the bytes of a local run."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import one_machine
import pytest
from conftest import ROOT, Project, new_project, small_config

REASON = one_machine.why_not()
if REASON is None and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
    REASON = "needs the package snakemake-executor-plugin-slurm"
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

Found = TypeVar("Found")
PATIENCE = 600  # seconds for what a test waits for
# Too little for torch at first, enough at the second attempt.
TOO_LITTLE = "encode_passages:mem_mb=250 if attempt == 1 else 2000"


def config() -> dict[str, Any]:
    """ADORE trains long enough to be met in the middle. No analyses: their jobs would only queue."""
    content = small_config()
    content["systems"]["adore_star"]["train"] |= {"steps": 400}
    content["analyses"] = dict.fromkeys(("pairwise_errors", "negatives", "agreement", "examples"))
    content["runtime"] |= {"checkpoint_seconds": 0.5, "shards": 1}
    return content


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("local") / "project")
    project.write_config(config())
    project.snakemake()
    return project


@pytest.fixture(scope="module")
def finished_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_machine.slurm(tmp_path_factory.mktemp("slurm") / "run") as log:
        yield log


def running(rule: str) -> str | None:
    """The id of a running job of a rule."""
    listed = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i|%k"], check=True, capture_output=True, text=True)
    found = [line.partition("|")[0] for line in listed.stdout.splitlines() if rule in line]
    return found[0] if found else None


def wait_for(look: Callable[[], Found | None], run: subprocess.Popen[str]) -> Found:
    """What `look` finds first, while the workflow runs."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if (found := look()) is not None:
            return found
        assert run.poll() is None, "the workflow ended before"
        time.sleep(0.1)
    raise TimeoutError(PATIENCE)


def test_jobs_that_end_badly_are_submitted_again(local: Project, finished_jobs: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    project.write_config(config())
    command = project.command(
        *("--profile", str(ROOT / "profiles" / "slurm"), "--latency-wait", "10"),
        *("--set-resources", TOO_LITTLE),
    )
    told = tmp_path / "told.log"
    environment = project.environment(HARDNEG_PRETEND_DEVICES=str(one_machine.GPUS))
    trained = project.folder / "artifacts" / "small" / "query_encoder"
    with told.open("w") as output:
        run = subprocess.Popen(
            command,
            cwd=project.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(lambda: next(trained.glob("adore_star-*/checkpoints/*.safetensors"), None), run)
        cancelled = wait_for(lambda: running("train_query_encoder"), run)
        subprocess.run(["scancel", cancelled], check=True)
        assert run.wait(PATIENCE) == 0, told.read_text()

    assert project.measures() == local.measures()
    states = Counter(re.findall(r"JobState=(\w+)", finished_jobs.read_text()))
    assert states["CANCELLED"] == 1
    assert states["OUT_OF_MEMORY"] + states["FAILED"] >= 2
    # Each job saw the GPUs that Slurm gave it, and no other.
    for path in project.folder.glob("artifacts/small/passages/*/shard-*.cost.json"):
        assert len(json.loads(path.read_text(encoding="utf-8"))["visible"]) == 1
