"""A flipped byte, a full disk and a folder that is read-only, for stages of every kind."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import ROOT
from faults import apart, check_flipped_bytes, check_full_disk, check_refused, read_only
from made_stages import Stages
from test_rules_contract import ELSEWHERE, PLANNED

from hardneg.stages.kinds import KINDS
from hardneg.training.draws import Meeting
from hardneg.training.scorers import QueryEncoder


@pytest.mark.parametrize("kind", PLANNED)
def test_a_flipped_byte_is_refused_by_name(stages: Stages, kind: str, tmp_path: Path) -> None:
    check_flipped_bytes(stages, stages.stage(kind), tmp_path)


@pytest.mark.parametrize("kind", PLANNED)
def test_a_full_disk_is_told_and_the_same_command_goes_on(stages: Stages, kind: str, tmp_path: Path) -> None:
    check_full_disk(stages, stages.stage(kind), tmp_path)


def test_every_kind_is_tried() -> None:
    tried = set(PLANNED)
    for path in Path(__file__).parent.glob("test_rules_*.py"):
        if path != Path(__file__) and "CHECKS)\ndef test_faults" in (text := path.read_text(encoding="utf-8")):
            tried |= set(re.findall(r'\bcheck\(\w+, \w+\.stage\("(\w+)"', text))
    assert tried == set(KINDS)
    assert not set(PLANNED) & set(ELSEWHERE)


def test_a_folder_that_is_read_only_is_named(stages: Stages, tmp_path: Path) -> None:
    stage = stages.stage("tokens")
    elsewhere = apart(stages, stage, tmp_path)
    shutil.rmtree(tmp_path / stage.folder)
    kind = tmp_path / stage.folder.parent
    with read_only(kind):
        said = elsewhere.call(elsewhere.commands(stage)[0])
    check_refused(said, "Permission denied", str(stage.folder), "correct its permissions")
    assert list(kind.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "A device failed."),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "has not enough memory."),
        (MemoryError("Unable to allocate 8 GiB"), "There is not enough memory."),
    ],
    ids=["device", "memory of a device", "memory"],
)
def test_a_fault_in_the_middle_of_a_step_is_told_and_the_same_command_goes_on(
    stages: Stages, fault: Exception, told: str, tmp_path: Path
) -> None:
    stage = stages.stage("query_encoder")
    elsewhere = apart(stages, stage, tmp_path)
    elsewhere.runtime = json.dumps({**json.loads(stages.runtime), "checkpoint_seconds": 0.0})
    sealed = (tmp_path / stage.manifest).read_bytes()
    shutil.rmtree(tmp_path / stage.folder)
    (command,) = elsewhere.commands(stage)
    with failing_at(4, fault):
        check_refused(elsewhere.call(command), told, "remedy:")
    assert not (tmp_path / stage.manifest).exists()
    said = elsewhere.call(command)
    assert said.status == 0 and f"resuming train {stage.label} at step 4\n" in said.out
    assert (tmp_path / stage.manifest).read_bytes() == sealed


@contextlib.contextmanager
def failing_at(failing: int, fault: Exception) -> Iterator[None]:
    """A training inside the block fails at a step, when its scores are there and its weights are as before."""
    scores, steps = QueryEncoder.scores, count()

    def fails(scorer: QueryEncoder, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        made = scores(scorer, query, meeting)
        if next(steps) == failing:
            raise fault
        return made

    with mock.patch.object(QueryEncoder, "scores", fails):
        yield


def test_the_page_of_faults_says_of_every_kind_who_refuses_it() -> None:
    page = (ROOT / "docs/faults.md").read_text(encoding="utf-8").partition("## A flipped byte")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z].*?) \|", page, flags=re.MULTILINE)
    told = [kind for row in rows for kind in row.split(", ")]
    assert sorted(told) == sorted(KINDS)
