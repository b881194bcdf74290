"""The small study with its artifacts in S3-compatible storage: killed, it goes on in another, empty folder."""

from __future__ import annotations

import os
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

PATIENCE = 300.0
BUCKET, FOLDER = "studies", "small"
PLACE = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{FOLDER}"]


def config() -> dict[str, Any]:
    """ADORE trains long enough to be met in the middle."""
    content = small_config()
    content["systems"]["adore_star"]["train"] |= {"steps": 300}
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
    """Run until a checkpoint of ADORE is in storage, then kill all processes at once."""
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
    while not any("/checkpoints/step-" in name for name in names(bucket, "query_encoder/adore_star-")):
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
    shutil.rmtree(first.folder)

    second = new_project(tmp_path / "second")
    second.write_config(config())
    told = second.snakemake(*PLACE).stdout
    assert second.measures() == local.measures()
    assert (second.folder / "results" / "small" / "report.html").exists()
    log = next((second.folder / ".snakemake/storage").glob("**/logs/small/query_encoder/adore_star-*.log"))
    assert "resuming train adore_star at step " in log.read_text(encoding="utf-8")
    for done in ("index_bm25", "train_dual_encoder", "encode_passages"):  # what was in storage was not made again
        assert f"rule {done}" not in told
    left = names(stored, "query_encoder/adore_star-")
    assert not any("checkpoints" in name for name in left) and any(name.endswith("manifest.json") for name in left)
    assert second.snakemake(*PLACE, "-n").stdout.count("Nothing to be done") == 1
