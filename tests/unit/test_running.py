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
    "claim(sys.argv[2:], Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that makes two stages."""
    arguments = [str(tmp_path / "runs"), *outputs("warm", "star"), "results/measures.csv"]
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


def outputs(*names: str) -> list[str]:
    return [f"artifacts/small/dual_encoder/{name}-0/manifest.json" for name in names]


def test_a_shared_stage_is_refused_until_the_other_run_is_gone(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    words = r"same stages(?s:.*)process \d+ on(?s:.*)found: +artifacts/small/dual_encoder/star-0\n(?s:.*)wait"
    with pytest.raises(HardnegError, match=words):
        claim(outputs("star", "adore"), tmp_path / "runs")
    other.kill()
    other.wait()
    claim(outputs("star", "adore"), tmp_path / "runs")


def test_a_shared_result_is_named_by_its_file(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(HardnegError, match=r"found: +results/measures\.csv\n"):
        claim(["results/measures.csv"], tmp_path / "runs")


def test_the_parts_of_a_stage_are_one(tmp_path: Path) -> None:
    running._refuse_shared(set(outputs("star")), {"stages": outputs("warm"), "process": 1, "host": "here"})
    parts = [f"artifacts/small/passages/star-0/shard-000{part}-of-0002.json" for part in range(2)]
    with pytest.raises(HardnegError, match=r"found: +artifacts/small/passages/star-0\n"):
        running._refuse_shared(set(parts), {"stages": parts, "process": 1, "host": "here"})


def test_runs_that_make_different_things_do_not_meet(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    claim(outputs("adore"), tmp_path / "runs")
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2


def test_notes_of_runs_that_ended_are_cleared(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    claim(outputs("star"), tmp_path / "runs")
    assert len(list((tmp_path / "runs").glob("*.json"))) == 1
