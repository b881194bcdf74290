"""What the paper's settings need of a plan: a precision a training, and measures that give their own grade."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from hardneg.config import load, read_yaml
from hardneg.planning.plan import Plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The embedded default, whose ADORE is followed while it trains."""
    monkeypatch.chdir(tmp_path)
    raw = read_yaml(ROOT / "config.yaml")
    raw["analyses"] = {**raw.get("analyses", {}), "trajectory": {"systems": ["adore_star"]}}
    return raw


def changed(raw: dict[str, Any], other: dict[str, Any]) -> set[tuple[str, str]]:
    """Kind and label of the stages of `other` that `raw` does not have."""
    before = {(stage.kind, stage.label, stage.version) for stage in Plan(load(raw)).stages}
    return {(s.kind, s.label) for s in Plan(load(other)).stages if (s.kind, s.label, s.version) not in before}


def with_precision(raw: dict[str, Any], system: str, precision: str | None) -> dict[str, Any]:
    raw = deepcopy(raw)
    raw["systems"][system].setdefault("train", {})["precision"] = precision
    return raw


def test_a_training_may_have_its_own_precision(settings: dict[str, Any]) -> None:
    other = with_precision(settings, "star", "bf16")
    plan = Plan(load(other))
    trainings = {stage.label: stage.settings for stage in plan.of("dual_encoder", "query_encoder")}
    precisions = {label: held["precision"] for label, held in trainings.items()}
    assert precisions.pop("star") == "bf16"
    assert set(precisions.values()) == {"auto"}
    assert all("precision" not in held["train"] for held in trainings.values())
    encoded = plan.systems["star"].passages
    assert encoded is not None
    assert encoded.settings["precision"] == "auto"
    found = changed(settings, other)
    assert ("dual_encoder", "star") in found
    assert not {label for kind, label in found if kind == "dual_encoder"} - {"star"}


def test_without_a_precision_of_its_own_nothing_is_trained_again(settings: dict[str, Any]) -> None:
    assert changed(settings, with_precision(settings, "star", None)) == set()
    given = {kind for kind, _ in changed(settings, with_precision(settings, "star", "auto"))}
    assert given <= {"export"}  # its card tells the settings as they were written


def test_a_measure_with_its_own_grade_runs_only_the_scoring_again(settings: dict[str, Any]) -> None:
    other = deepcopy(settings)
    measures = list(load(settings).evaluation.measures)
    other["evaluation"] = {**other.get("evaluation", {}), "measures": [*measures, "R(rel=1)@50"]}
    assert {kind for kind, _ in changed(settings, other)} <= {"measure", "export"}
    plan = Plan(load(other))
    assert all(stage.settings["measures"] == [*measures, "R(rel=1)@50"] for stage in plan.of("measure"))
    followed = plan.of("trajectory", "export")
    assert followed
    assert all(stage.settings["measures"] == measures for stage in followed)
