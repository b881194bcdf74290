"""Signals at random moments to any process of a run: four in every run of the tests, sixty with `make test-slow`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import Project
from random_kills import HEADER, Kill, drawn, tried

KILLS = 60
FEW = [
    ("dual_encoder", "star", "job", signal.SIGKILL, 0.6),
    ("passages", "star", "client", signal.SIGKILL, 0.3),
    ("index", "star", "server", signal.SIGTERM, 0.1),
    ("run", "star", "snakemake", signal.SIGKILL, 0.2),
]


@pytest.mark.parametrize(("kind", "label", "role", "number", "share"), FEW, ids=[role for _, _, role, _, _ in FEW])
def test_the_stage_and_what_reads_it_have_the_same_bytes(
    finished: Project, tmp_path: Path, kind: str, label: str, role: str, number: signal.Signals, share: float
) -> None:
    kill = Kill(finished.stage(kind, label).relative_to(finished.folder), role, number, share)
    outcome = tried(finished, tmp_path / "killed", kill)
    assert outcome.differs == [], outcome.row(0)


@pytest.mark.slow
def test_sixty_kills_change_no_byte(finished: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = []
    for seed in range(KILLS):
        outcomes.append(tried(finished, tmp_path / f"seed-{seed}", drawn(finished, seed)))
        with capsys.disabled():
            print(outcomes[-1].row(seed) if seed else f"\n{HEADER}\n{outcomes[-1].row(seed)}", flush=True)
    assert [seed for seed, outcome in enumerate(outcomes) if outcome.differs] == []
