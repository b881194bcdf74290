"""What experiment trackers are told: a project a collection, a run a training, its settings, its losses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hardneg.stages.artifacts import StageFolder
from hardneg.training.loop import new_accelerator
from hardneg.training.tracking import flat, tracked

SETTINGS = {
    "train": {"lr": 1e-3, "steps": 4, "chunk": None, "centroids": {"lr": 0.5}},
    "normalize": True,
    "loss": [{"name": "softmax", "weight": 1}],
    "split": "train",
}
RECORD = {"dataset": "small", "kind": "dual_encoder", "label": "star", "version": "0123abcd", "settings": SETTINGS}


class Recorder:
    """As much of an Accelerator as `tracked` uses."""

    def __init__(self, *names: str) -> None:
        self.log_with = list(names)
        self.begun: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.finished: list[str] = []
        self.trackers: list[SimpleNamespace] = []

    def init_trackers(self, project: str, config: dict[str, Any], init_kwargs: dict[str, Any]) -> None:
        self.begun.append((project, config, init_kwargs))
        self.trackers = [SimpleNamespace(finish=lambda name=name: self.finished.append(name)) for name in self.log_with]


def test_a_run_begins_with_names_and_settings_and_ends(tmp_path: Path) -> None:
    accelerator = Recorder("wandb", "mlflow")
    with tracked(accelerator, StageFolder(tmp_path, RECORD, {})):
        assert accelerator.finished == []
    ((project, config, named),) = accelerator.begun
    assert project == "small" and accelerator.finished == ["wandb", "mlflow"]
    assert named["wandb"]["name"] == named["mlflow"]["run_name"] == "dual_encoder/star-0123abcd"
    assert (named["wandb"]["id"], named["wandb"]["resume"]) == ("0123abcd", "allow")
    assert Path(named["wandb"]["dir"]).is_dir()
    assert config == flat(SETTINGS)


def test_without_trackers_nothing_is_begun(tmp_path: Path) -> None:
    accelerator = Recorder()
    with tracked(accelerator, StageFolder(tmp_path, RECORD, {})):
        pass
    assert accelerator.begun == [] and not list(tmp_path.iterdir())


def test_settings_are_flat() -> None:
    """Values that every tracker takes: TensorBoard refuses lists, and MLflow turns all into text."""
    found = flat(SETTINGS)
    assert found == {
        "train.lr": 1e-3,
        "train.steps": 4,
        "train.centroids.lr": 0.5,
        "normalize": True,
        "loss": json.dumps(SETTINGS["loss"]),
        "split": "train",
    }
    assert all(isinstance(value, bool | int | float | str) for value in found.values())


def test_a_real_tracker_keeps_the_losses(tmp_path: Path) -> None:
    reading = "tensorboard.backend.event_processing.event_accumulator"
    events_of = pytest.importorskip(reading, reason="tensorboard is not installed").EventAccumulator
    accelerator = new_accelerator(torch.device("cpu"), "fp32", ["tensorboard"], tmp_path)
    with tracked(accelerator, StageFolder(tmp_path, RECORD, {})):
        accelerator.log({"loss": 0.5}, step=1)
        accelerator.log({"loss": 0.25}, step=2)
    (written,) = (path.parent for path in (tmp_path / "trackers" / "small").glob("events*"))
    events = events_of(str(written)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
