"""The embedded collection may be read from other versions of its packages: it is told, and another collection."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from hardneg.config import load, read_yaml
from hardneg.data.formats.pydocs import DISTRIBUTIONS
from hardneg.data.installed import differences, installed_versions
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from workflow_scripts.prepare_collection import refuse_other_packages

ROOT = Path(__file__).resolve().parents[2]


def planned() -> Plan:
    return Plan(load(read_yaml(ROOT / "config.yaml")))


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer torch, with the suffix of its CPU build."""
    really = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9+cpu" if name == "torch" else really(name))


def test_the_lock_s_versions_are_installed_here_and_nothing_is_told() -> None:
    assert installed_versions() == DISTRIBUTIONS
    assert differences(installed_versions()) == []


def test_other_versions_are_told_and_make_another_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    before = planned()
    request.getfixturevalue("newer")
    after = planned()
    assert after.collection.settings["distributions"] == {**DISTRIBUTIONS, "torch": "9.9.9"}
    assert after.collection.version != before.collection.version
    (note,) = [note for note in after.notes if note not in before.notes]
    assert f"torch 9.9.9 (not {DISTRIBUTIONS['torch']})" in note and "numpy" not in note


def test_a_job_with_other_packages_than_the_plan_is_refused(newer: None) -> None:
    with pytest.raises(HardnegError, match=r"found: +torch 9\.9\.9\n *expected: +torch 2"):
        refuse_other_packages({"distributions": dict(DISTRIBUTIONS)})
    refuse_other_packages({"distributions": installed_versions()})
    refuse_other_packages({"files": "of another format"})
