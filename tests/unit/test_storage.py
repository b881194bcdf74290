"""Stages in storage: what is brought, what is sent, and what a job that goes on elsewhere finds."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from s3_server import KEYS

from hardneg.cli.jobs import failure, job_name
from hardneg.errors import HardnegError, Stopped
from hardneg.stages import storage
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.stages.stage import name_of
from hardneg.stages.storage import STORAGE, Account, Bucket, Mirror, bring, bring_costs
from workflow_scripts.stored import made_here

pytestmark = pytest.mark.skipif(s3_server.REASON is not None, reason=str(s3_server.REASON))

PREFIX = "s3://studies/some/folder"
RECORD = {
    "dataset": "small",
    "kind": "mine",
    "label": "star",
    "version": "0123456789ab",
    "settings": {},
    "parents": {},
    "revision": "r",
}
FOLDER = Path("artifacts", name_of(RECORD))
MANIFEST = FOLDER / "manifest.json"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    with s3_server.s3_server("studies") as started:
        yield started


@pytest.fixture
def keys(server: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket, as boto3 sees it, and an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    server[1].objects.all().delete()
    return server[1]


@pytest.fixture
def account(server: tuple[str, Any]) -> Account:
    return Account(endpoint_url=server[0], **KEYS)


@pytest.fixture
def bucket(keys: Any, account: Account) -> Bucket:
    return Bucket(PREFIX, account)


def stored(keys: Any) -> set[str]:
    """The names of everything in storage, below the stage's folder."""
    return {entry.key.removeprefix(f"some/folder/{FOLDER}/") for entry in keys.objects.all()}


def write(name: str, text: str = "some text") -> Path:
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def sealed(**files: str) -> None:
    """A finished stage on this disk."""
    for name, text in files.items():
        write(name, text)
    StageFolder(FOLDER, RECORD, {}).seal(MANIFEST, list(files))


def emptied(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_file_comes_back_as_it_was_sent(bucket: Bucket, keys: Any) -> None:
    path = write("deep/weights.bin", "x" * 100_000)
    bucket.send(path)
    assert [entry.key for entry in keys.objects.all()] == [f"some/folder/{FOLDER}/deep/weights.bin"]
    assert bucket.files(FOLDER) == {"deep/weights.bin": 100_000}
    path.unlink()
    bucket.fetch(path)
    assert path.read_text() == "x" * 100_000
    bucket.remove(path)
    assert bucket.files(FOLDER) == {} and bucket.read(path) is None


def test_a_refusal_is_told_with_its_place(account: Account, keys: Any) -> None:
    with pytest.raises(HardnegError, match=r"(?s)Storage did not do.*s3://nowhere/artifacts/small/mine.*NoSuchBucket"):
        Bucket("s3://nowhere", account).send(write("a.csv"))
    with pytest.raises(HardnegError, match=r"(?s)Storage did not do.*absent.csv.*(404|NoSuchKey)"):
        Bucket(PREFIX, account).fetch(FOLDER / "absent.csv")
    assert not (FOLDER / "absent.csv").exists()


def test_a_finished_stage_is_brought_once(bucket: Bucket, keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(a="one", b="two")
    for name in ("a", "b", "cost.json", "manifest.json"):
        bucket.send(FOLDER / name)
    emptied(FOLDER)
    fetched: list[str] = []
    real = Bucket.fetch

    def noted(self: Bucket, path: Path) -> None:
        fetched.append(path.name)
        real(self, path)

    monkeypatch.setattr(Bucket, "fetch", noted)

    bring(bucket, MANIFEST)
    assert fetched == ["a", "b"]
    assert Artifact.open(MANIFEST).path("b").read_text() == "two"
    bring(bucket, MANIFEST)
    assert fetched == ["a", "b"]
    (FOLDER / "a").unlink()
    bring(bucket, MANIFEST)
    assert fetched == ["a", "b", "a"]


def test_files_of_an_interrupted_bringing_are_not_taken_for_whole_ones(bucket: Bucket) -> None:
    """Without a manifest nothing says what a file of the right size is."""
    sealed(a="one")
    bucket.send(FOLDER / "a")
    bucket.send(MANIFEST)
    MANIFEST.unlink()
    write("a", "two")
    bring(bucket, MANIFEST)
    assert Artifact.open(MANIFEST).path("a").read_text() == "one"


def test_costs_come_without_the_files(bucket: Bucket) -> None:
    sealed(a="one")
    write("shard-0000-of-0002.cost.json", "{}")
    for name in ("a", "cost.json", "shard-0000-of-0002.cost.json", "manifest.json"):
        bucket.send(FOLDER / name)
    emptied(FOLDER)
    bring_costs(bucket, MANIFEST)
    assert {path.name for path in FOLDER.iterdir()} == {"cost.json", "shard-0000-of-0002.cost.json", "manifest.json"}


def test_a_stage_that_is_not_there_is_told(bucket: Bucket) -> None:
    with pytest.raises(HardnegError, match=r"(?s)not in storage.*s3://studies/some/folder/artifacts/small/mine/star"):
        bring(bucket, MANIFEST)
    bring_costs(bucket, MANIFEST)
    assert not MANIFEST.exists()


def test_a_mirror_sends_while_the_stage_is_written(bucket: Bucket, keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old checkpoint is removed after the new one is there; locks and half-written files stay here."""
    monkeypatch.setattr(storage, "SECONDS", 0.02)
    write(".writer.lock")
    write(".weights.bin.17.tmp")
    write("shard-0000-of-0002.json")
    with Mirror(bucket, FOLDER):
        old = write("checkpoints/step-000000001.safetensors")
        until = time.monotonic() + 10
        while "checkpoints/step-000000001.safetensors" not in stored(keys) and time.monotonic() < until:
            time.sleep(0.01)
        assert stored(keys) == {"checkpoints/step-000000001.safetensors"}
        write("checkpoints/step-000000002.safetensors")
        old.unlink()
    assert stored(keys) == {"checkpoints/step-000000002.safetensors"}


def test_what_was_interrupted_goes_on_elsewhere(bucket: Bucket, keys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that is told to stop sends its last checkpoint; another folder has it, and its end removes it."""
    with pytest.raises(Stopped), Mirror(bucket, FOLDER):
        write("checkpoints/step-000000007.safetensors", "seven")
        write("progress.jsonl")
        raise Stopped("told to stop")
    emptied(FOLDER)
    elsewhere = Mirror(bucket, FOLDER)
    elsewhere.bring()
    assert (FOLDER / "checkpoints/step-000000007.safetensors").read_text() == "seven"
    with elsewhere:
        sealed(model="weights")
    assert stored(keys) == {"model", "cost.json", "progress.jsonl", ".finished.json"}


KILLED = """
import os, signal, sys, time
from pathlib import Path
from hardneg.stages import storage
storage.SECONDS = 0.02
bucket, folder = storage.Bucket(sys.argv[1], storage.Account(*sys.argv[3:])), Path(sys.argv[2])
with storage.Mirror(bucket, folder):
    for step in (1, 2):
        (folder / f"checkpoints/step-{step}").write_text(str(step))
        while f"checkpoints/step-{step}" not in bucket.files(folder):
            time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_checkpoints_in_storage(bucket: Bucket, account: Account) -> None:
    (FOLDER / "checkpoints").mkdir(parents=True)
    reached = [str(account.endpoint_url), KEYS["region"], KEYS["access_key"], KEYS["secret_key"]]
    command = [sys.executable, "-c", KILLED, PREFIX, str(FOLDER), *reached]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == -signal.SIGKILL
    emptied(FOLDER)
    Mirror(bucket, FOLDER).bring()
    assert [(FOLDER / f"checkpoints/step-{step}").read_text() for step in (1, 2)] == ["1", "2"]


def test_what_storage_refuses_fails_the_job_but_hides_no_other_fault(
    account: Account, keys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Bucket("s3://nowhere", account)
    with pytest.raises(HardnegError, match="NoSuchBucket"), Mirror(nowhere, FOLDER):
        write("a")
    with pytest.raises(ZeroDivisionError), Mirror(nowhere, FOLDER):
        _ = 1 / 0
    assert "warning: Storage did not do what was asked." in capsys.readouterr().out


@pytest.fixture
def told(account: Account, keys: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs know of the storage; where Snakemake has its copies."""
    told = {"prefix": PREFIX, "copies": "copies/s3/studies/some/folder", "account": account.__dict__}
    monkeypatch.setenv(STORAGE, json.dumps(told))
    return Path("copies/s3/studies/some/folder")


def test_a_job_finds_its_parents_and_leaves_its_stage(told: Path, bucket: Bucket, keys: Any) -> None:
    parent = Path("artifacts/small/run/star-aaaaaaaaaaaa")
    parent.mkdir(parents=True)
    (parent / "run").write_text("ranking")
    record = {**RECORD, "kind": "run", "version": "aaaaaaaaaaaa"}
    StageFolder(parent, record, {}).seal(parent / "manifest.json", ["run"])
    for name in ("run", "manifest.json"):
        bucket.send(parent / name)
    emptied(parent)
    (told / FOLDER).mkdir(parents=True)
    given = argparse.Namespace(output=told / MANIFEST, inputs=[told / parent / "manifest.json"])
    with made_here(given, []):
        assert given.output == MANIFEST and given.inputs == [parent / "manifest.json"]
        assert Artifact.open(given.inputs[0]).path("run").read_text() == "ranking"
        sealed(negatives="mined")
    assert (told / MANIFEST).read_bytes() == MANIFEST.read_bytes()
    assert {"negatives", "cost.json", ".finished.json"} < stored(keys)
    assert "manifest.json" not in stored(keys)  # Snakemake itself sends that, last


def test_the_logger_knows_what_lies_in_storage(told: Path) -> None:
    said = f"{PREFIX}/{MANIFEST} (send to storage)"
    assert job_name("mine_negatives", [said]) == "mine star"
    log = told / "logs" / "mine.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: no luck\n")
    assert failure([f"{PREFIX}/logs/mine.log (send to storage)"]) == "error: no luck"
