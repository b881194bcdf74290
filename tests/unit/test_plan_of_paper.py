"""What the paper's settings need of a plan: a precision a training, and measures that give their own grade."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    assert {kind for kind, _ in changed(settings, other)} <= {"measure", "trajectory", "export"}
    plan = Plan(load(other))
    scored = plan.of("measure", "trajectory", "export")
    assert {stage.kind for stage in scored} >= {"measure", "export"}
    assert all(stage.settings["measures"] == [*measures, "R(rel=1)@50"] for stage in scored)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configurations, where nothing is downloaded."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_the_papers_study_only_star_and_the_warm_up_train_in_fp16(configs: Path) -> None:
    plan = Plan(load(read_yaml(Path("configs/msmarco-passage.yaml"))))
    trained = plan.of("dual_encoder", "query_encoder")
    assert {stage.label for stage in trained if stage.settings["precision"] == "fp16"} == {"bm25neg", "star"}
    assert {stage.settings["precision"] for stage in trained} == {"fp16", "fp32"}
    assert {stage.settings["dtype"] for stage in plan.of("passages")} == {"float32"}
    warm_up = next(stage for stage in trained if stage.label == "bm25neg").settings["train"]
    held = {key: warm_up[key] for key in ("optimizer", "lr", "batch_size", "passage_length", "warmup_steps", "steps")}
    assert list(held.values()) == ["lamb", 2e-4, 32, 128, 1000, 60_000]
    rounds = [stage for stage in trained if stage.label.partition(".")[0] == "ance"]
    assert len(rounds) == 12


def test_the_study_may_start_from_the_checkpoint_that_ance_published(configs: Path) -> None:
    """As the comment of the configuration says, with a folder's name in place of the checkpoint."""
    raw = read_yaml(Path("configs/msmarco-passage.yaml"))
    head = {"backbone": "ance-warmup", "head_from": {"linear": "embeddingHead", "norm": "norm"}}
    theirs = {"collection": raw["collection"], "encoder": {**raw["encoder"], **head}}
    theirs["systems"] = {"warmup": {"preset": "pretrained"}}
    Path("ance.yaml").write_text(yaml.safe_dump(theirs), encoding="utf-8")
    raw["studies"] = {"ance": "ance.yaml"}
    raw["systems"]["bm25neg"] = {"preset": "zero_shot", "from": "ance:warmup"}
    plan = Plan(load(raw))
    star = next(stage for stage in plan.of("dual_encoder") if stage.label == "star")
    start = star.parents["init"]
    assert start is not None
    assert start.settings["encoder"]["head_from"] == head["head_from"]
    assert "bm25neg" not in {stage.label for stage in plan.of("dual_encoder")}
