"""`hardneg watch`: what runs is what holds a folder's lock, however little it tells of itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hardneg.cli import watch
from hardneg.cli.main import main
from hardneg.stages.artifacts import PROGRESS, writer_lock
from hardneg.stages.progress import Progress
from hardneg.stages.stage import ARTIFACTS

HOLD = """
import sys, time
from pathlib import Path
from hardneg.stages.artifacts import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage's folder in the working folder."""
    monkeypatch.chdir(tmp_path)
    made = ARTIFACTS / "small" / "mine" / "star-0123456789ab"
    made.mkdir(parents=True)
    return made


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    main(["watch", "--once"])
    return capsys.readouterr().out.splitlines()


def test_a_stage_that_counts_nothing_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == ["nothing is running"]
    with writer_lock(folder):
        assert told(capsys) == [f"{'mine star':<28}  for 0:00, process {os.getpid()} on {os.uname().nodename}"]
    assert told(capsys) == ["nothing is running"]


def test_progress_is_shown_while_it_is_of_this_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("an earlier run", 10, "steps", folder / PROGRESS) as bar:
        bar.advance(3)
        with writer_lock(folder):
            os.utime(folder / PROGRESS, (0, 0))
            assert "steps" not in told(capsys)[0]
            bar.reported = float("-inf")
            bar.advance(4, loss=0.25)
            assert f"{'mine star':<28}  7/10 steps  loss 0.25  " in told(capsys)[0]
            os.utime(folder / ".writer.lock.owner", (0, 0))
            os.utime(folder / PROGRESS, (1, 1))
            assert "7/10 steps" in told(capsys)[0] and "no news for" in told(capsys)[0]


def test_a_shard_has_its_own_lock_and_progress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = "shard-0001-of-0002"
    with writer_lock(folder, f".{shard}.writer.lock"):
        with Progress("encode", 10, "passages", folder / f"{shard}.{PROGRESS}") as bar:
            bar.advance(3)
            assert told(capsys)[0].startswith(f"mine star {shard}  3/10 passages  ")
        assert "passages" not in told(capsys)[0]  # it counted all, and has still to be sealed


def test_a_killed_writer_does_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "held\n"
    assert f"process {writer.pid} on " in told(capsys)[0]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert (folder / ".writer.lock.owner").exists()
    assert told(capsys) == ["nothing is running"]
    with writer_lock(folder, patience=0):
        assert capsys.readouterr().out == ""  # looking took nothing from the next writer


def test_watching_where_nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="found:    no folder artifacts"):
        main(["watch"])


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (67, "1:07"), (3599.6, "1:00:00"), (7384, "2:03:04")])
def test_a_clock(seconds: float, shown: str) -> None:
    assert watch.clock(seconds) == shown
