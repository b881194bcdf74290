"""The small study under a real Slurm: jobs cancelled, out of time or of memory go on, to the bytes of a local run.

`pytest -m cluster -rP` prints the table of the jobs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import one_machine
import pandas as pd
import pytest
from conftest import ROOT, Project, new_project, small_config

from benchmarks.seeds import markdown

REASON = one_machine.why_not()
if REASON is None and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
    REASON = "needs the package snakemake-executor-plugin-slurm"
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

Found = TypeVar("Found")
PATIENCE = 600  # seconds for what a test waits for
# Too little memory for torch at first, and less time than STAR trains; enough at the second attempt.
TOO_LITTLE = (
    "encode_passages:mem_mb=250 if attempt == 1 else 2000",
    "train_dual_encoder:runtime=1 if attempt == 1 else 60",
)
LONG = 3_000  # steps of STAR: Slurm looks at time limits every half minute


def config() -> dict[str, Any]:
    """STAR trains beyond its time limit, ADORE long enough to be met. No analyses: their jobs would only queue."""
    content = small_config()
    for name, steps in (("star", LONG), ("adore_star", 400)):  # a dictionary of its own for each
        content["systems"][name]["train"] = {**content["systems"][name]["train"], "steps": steps}
    content["analyses"] = dict.fromkeys(("pairwise_errors", "negatives", "agreement", "examples"))
    content["runtime"] |= {"checkpoint_seconds": 2, "shards": 1}
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


def finished(log: Path, told: Path) -> pd.DataFrame:
    """The jobs in the order of their ends: rule or group, state, seconds, and the time and memory that it asked for."""
    names = dict(re.findall(r"SLURM jobid (\d+) \(log: \S*/slurm_logs/(?:rule|group)_(\w+)/", told.read_text()))
    rows = []
    for line in log.read_text().splitlines():
        found = dict(re.findall(r"(\w+)=(\S*)", line))
        began, ended = (datetime.fromisoformat(found[key]) for key in ("StartTime", "EndTime"))
        memory = re.search(r"mem=(\w+)", line)
        asked = (found["TimeLimit"], memory[1] if memory else "")
        rows.append((names.get(found["JobId"], "?"), found["JobState"], (ended - began).seconds, *asked))
    return pd.DataFrame(rows, columns=["job", "state", "seconds", "minutes asked", "memory asked"])


def test_jobs_that_end_badly_are_submitted_again(local: Project, finished_jobs: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    project.write_config(config())
    command = project.command(
        *("--profile", str(ROOT / "profiles" / "slurm"), "--latency-wait", "10"),
        *("--set-resources", *TOO_LITTLE),
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
    jobs = finished(finished_jobs, told)
    print("\n" + markdown(jobs))
    ended = Counter(zip(jobs["job"], jobs["state"], strict=True))
    assert ended["train_query_encoder", "CANCELLED"] == 1
    assert ended["train_dual_encoder", "TIMEOUT"] == 1
    killed = jobs[(jobs["job"] == "encode_passages") & (jobs["state"] != "COMPLETED")]
    assert len(killed) >= 2 and set(killed["state"]) <= {"OUT_OF_MEMORY", "FAILED"}
    # Each job saw the GPUs that Slurm gave it, and no other.
    for path in project.folder.glob("artifacts/small/passages/*/shard-*.cost.json"):
        assert len(json.loads(path.read_text(encoding="utf-8"))["visible"]) == 1
