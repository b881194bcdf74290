"""`hardneg doctor`: what it finds, and what it makes of it."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import filelock
import pytest

from hardneg.cli.main import main
from hardneg.errors import HardnegError
from hardneg.estimate import examination
from hardneg.retrieval import java


def test_here_nothing_is_wrong_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["doctor"])
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    found = {line[7:].partition(":")[0]: line[:6].strip() for line in lines}
    assert found.keys() >= {"Python", "packages", "FAISS", "Java", "devices", "memory", "disk", "file locks"}
    assert "wrong" not in found.values()
    assert list(tmp_path.iterdir()) == []


def test_two_faiss_builds_are_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.15.1")
    (finding,) = examination._faiss(tmp_path)
    assert (finding.level, finding.found) == ("wrong", "faiss-cpu 1.15.1, faiss-gpu 1.15.1")


def test_locks_that_do_not_lock_are_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)  # here; the other process takes a real one
    (finding,) = examination._locks(tmp_path)
    assert finding.level == "wrong"
    assert "two processes held one lock" in finding.found


def test_gpus_that_torch_cannot_use_are_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = subprocess.CompletedProcess([], 0, "GPU 0: Some GPU (UUID: GPU-1)\n", "")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: listed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (finding,) = examination._devices(tmp_path)
    assert finding.level == "wrong"
    assert "1 GPUs that torch cannot use" in finding.found


def test_a_fault_is_told_and_ends_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_java() -> None:
        raise HardnegError("There is no Java 21.", remedy="install one.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(java, "find_java", no_java)
    with pytest.raises(SystemExit, match="1 thing is wrong"):
        main(["doctor"])
    assert "wrong  java: There is no Java 21." in capsys.readouterr().out
