"""Faults that a run meets on its way: missing models, changed files, clocks, divergence, a full disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from conftest import Project, new_project
from wrong_inputs import INBATCH, Case, changed, check_refused, nothing


def flipped(project: Project) -> None:
    """Flip a byte of the prepared passages, and ask for something that reads them anew."""
    path = project.stage("collection", "small") / "passages.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    changed(encoder__passage_length=24)(project)


def from_tomorrow(project: Project) -> None:
    """Date the prepared collection a day ahead, and ask for something that reads it anew."""
    manifest = project.stage("collection", "small") / "manifest.json"
    os.utime(manifest, (time.time() + 86_400,) * 2)
    changed(encoder__passage_length=24)(project)


RUN = [
    Case(
        "model that the hub cannot give",
        changed(encoder__backbone="nobody/nothing", systems=INBATCH, export=[]),
        ("The backbone's tokenizer cannot be loaded.", "encoder.backbone", "nobody/nothing", "give its folder"),
        fails="tokenizer",
    ),
    Case(
        "sealed file that was changed",
        flipped,
        ("A file of a finished stage has changed.", "passages.parquet", "SHA-256", "run the workflow again"),
        fails="tokens",
        prepared=True,
    ),
    Case(
        "input that is dated in the future",
        from_tomorrow,
        ("An input is dated in the future.", "artifacts/small/collection/small-", "-exec touch"),
        prepared=True,
    ),
    Case(
        "training that diverges",
        changed(systems__inbatch__train__lr=1e30),
        ("Training diverged.", "train inbatch, step", "lower train.lr"),
        fails="dual_encoder",
        prepared=True,
    ),
    Case(
        "full disk while a model is written",
        nothing,
        ("The disk is full.", "artifacts/small/dual_encoder/inbatch-", "free space"),
        fails="dual_encoder",
        file_bytes=40_000,
        prepared=True,
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with collection and tokens, and one system that nothing was done for."""
    project = new_project(tmp_path_factory.mktemp("prepared"))
    changed(export=[], systems=INBATCH, encoder__passage_length=32)(project)
    project.snakemake("--until", "tokenize_texts")
    return project


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in RUN])
def test_a_fault_on_the_way_is_reported(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "project"
    if case.prepared:
        shutil.copytree(request.getfixturevalue("prepared").folder, folder, symlinks=True)
        check_refused(case, Project(folder))
    else:
        check_refused(case, new_project(folder))
