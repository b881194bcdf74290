"""Experiment trackers, through Accelerate: a project for a study's collection, a run for a training."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from accelerate import Accelerator

from hardneg.stages.artifacts import TRACKERS, StageFolder
from hardneg.stages.stage import name_of


@contextlib.contextmanager
def tracked(accelerator: Accelerator, stage: StageFolder) -> Iterator[None]:
    """Around a training: its run in each tracker begins and ends, with the stage's settings as its configuration.

    The project is the collection's name, as under `results/`, and the run is called `<kind>/<label>-<version>`. A
    training that goes on after an interruption goes on with its run in Weights & Biases, and begins another one in
    trackers that choose a run's id themselves.

    Args:
        accelerator: from `hardneg.training.loop.new_accelerator`.
        stage: that trains.
    """
    if accelerator.log_with:
        project, _, name = name_of(stage.record).partition("/")
        folder = stage.folder / TRACKERS
        known: dict[str, dict[str, Any]] = {
            "wandb": {"name": name, "id": stage.record["version"], "resume": "allow", "dir": str(folder)},
            "mlflow": {"run_name": name},
        }
        folder.mkdir(exist_ok=True)
        accelerator.init_trackers(project, config=flat(stage.settings), init_kwargs=known)
    yield
    for tracker in accelerator.trackers:  # `end_training` would part the processes, and a last look is still to come
        tracker.finish()


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, bool | int | float | str]:
    """Settings with the keys of nested ones joined by dots; lists as JSON, what is null left out."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        elif isinstance(value, bool | int | float | str):
            found[f"{before}{key}"] = value
        elif value is not None:
            found[f"{before}{key}"] = json.dumps(value)
    return found
