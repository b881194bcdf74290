"""Two workflows in one folder: the second is refused in words where both would make a stage, and only there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardneg.errors import HardnegError
from hardneg.stages import running
from hardneg.stages.running import claim

RUN = (
    "import sys; from pathlib import Path; from hardneg.stages.running import claim\n"
    "claim([Path(name) for name in sys.argv[2:]], Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that makes two stages."""
    arguments = [str(tmp_path / "runs"), *(str(tmp_path / name / "manifest.json") for name in ("warm", "star"))]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    while running._held:
        running._held.pop().release()


def manifests(folder: Path, *names: str) -> list[Path]:
    return [folder / name / "manifest.json" for name in names]


def test_a_shared_stage_is_refused_until_the_other_run_is_gone(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(HardnegError, match=r"same stages(?s:.*)process \d+ on(?s:.*)star(?s:.*)wait") as fault:
        claim(manifests(tmp_path, "star", "adore"), tmp_path / "runs")
    assert "adore" not in str(fault.value)
    other.kill()
    other.wait()
    claim(manifests(tmp_path, "star", "adore"), tmp_path / "runs")


def test_other_stages_and_finished_ones_are_nobodys(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    (tmp_path / "warm").mkdir()
    (tmp_path / "warm" / "manifest.json").touch()
    claim(manifests(tmp_path, "warm", "adore"), tmp_path / "runs")


def test_notes_of_runs_that_ended_are_cleared(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    claim(manifests(tmp_path, "star"), tmp_path / "runs")
    assert len(list((tmp_path / "runs").glob("*.json"))) == 1
