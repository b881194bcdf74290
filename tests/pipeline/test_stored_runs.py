"""The small study with its artifacts in S3-compatible storage: killed, it goes on in another, empty folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from conftest import Project, new_project, small_config

pytestmark = [pytest.mark.slow, pytest.mark.skipif(s3_server.REASON is not None, reason=str(s3_server.REASON))]

PATIENCE = 900.0
BUCKET, FOLDER = "studies", "small"
PLACE = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{FOLDER}"]


def config() -> dict[str, Any]:
    """One dense system that trains long enough to be met in the middle, and no analyses."""
    content = small_config()
    content["systems"] = {name: content["systems"][name] for name in ("bm25", "bm25neg")}
    content["systems"]["bm25neg"]["train"] |= {"steps": 300}
    content["analyses"] = dict.fromkeys(("pairwise_errors", "negatives", "agreement", "examples"))
    content["export"] = []
    content["runtime"] |= {"checkpoint_seconds": 0.2}
    return content


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket, as boto3 sees it; runs of Snakemake find it by the environment."""
    with s3_server.s3_server(BUCKET) as (address, bucket):
        for name, value in (("endpoint_url", address), *s3_server.KEYS.items()):
            monkeypatch.setenv(f"SNAKEMAKE_STORAGE_S3_{name.upper()}", value)
        yield bucket


def names(bucket: Any, part: str) -> list[str]:
    return [entry.key for entry in bucket.objects.filter(Prefix=f"{FOLDER}/artifacts/small/{part}")]


def killed_while_training(project: Project, bucket: Any) -> None:
    """Run until a checkpoint is in storage, then kill all processes at once."""
    told = project.folder / "told.log"
    run = subprocess.Popen(
        project.command("--cores", "2", *PLACE),
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=told.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    end = time.monotonic() + PATIENCE
    while not any("/checkpoints/step-" in name for name in names(bucket, "dual_encoder/bm25neg-")):
        assert run.poll() is None and time.monotonic() < end, told.read_text()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def test_a_killed_run_goes_on_from_storage_in_an_empty_folder(stored: Any, tmp_path: Path) -> None:
    local = new_project(tmp_path / "local")
    local.write_config(config())
    local.snakemake()

    first = new_project(tmp_path / "first")
    first.write_config(config())
    killed_while_training(first, stored)
    assert not (first.folder / "results").exists()
    shutil.rmtree(first.folder, ignore_errors=True)  # its last processes may be about to end
    finished = {entry.key.rpartition("/")[0] for entry in stored.objects.all() if entry.key.endswith("/manifest.json")}
    costs = [f"{folder}/cost.json" for folder in finished]
    before = {key: stored.Object(key).e_tag for key in costs}
    assert len(before) >= 5

    second = new_project(tmp_path / "second")
    second.write_config(config())
    second.snakemake(*PLACE)
    assert second.measures() == local.measures()
    assert (second.folder / "results" / "small" / "report.html").exists()
    log = next(entry for entry in stored.objects.all() if re.search("logs/small/dual_encoder/.*log$", entry.key))
    assert b"resuming train bm25neg at step " in log.get()["Body"].read()
    assert {key: stored.Object(key).e_tag for key in costs} == before  # what was finished was not made again
    left = names(stored, "dual_encoder/bm25neg-")
    assert not any("checkpoints" in name for name in left) and any(name.endswith("manifest.json") for name in left)
    assert second.jobs(*PLACE) == {}
