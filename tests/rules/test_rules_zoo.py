"""configs/zoo.yaml: every method stands in it at one budget, every one trains, and none is silently another."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, new_project, small_config
from made_stages import Stages
from safetensors.numpy import load_file

from hardneg.config import Config, load, merge, read_yaml
from hardneg.methods.published import names
from hardneg.stages.artifacts import Artifact

ZOO = ROOT / "configs" / "zoo.yaml"
# These need something of the user's: rankings, vectors, negatives, a pretrained model, another study.
OF_THE_USER = {"given_run", "given_vectors", "given_negatives", "pretrained", "zero_shot"}
OF_ANOTHER_BUDGET = {"bm25", "warm", "cross_encoder", "colbert", "rerank", "letor", "deepct"}
TWICE = {"adore_tas"}
NEEDS_A_WRITER = {"syneg"}


@pytest.fixture(scope="module")
def zoo() -> Config:
    return load(read_yaml(ZOO))


def test_every_method_stands_in_the_zoo() -> None:
    systems = read_yaml(ZOO)["systems"]
    assert {own["preset"] for own in systems.values() if own} == {*names()} - OF_THE_USER


def queries_met(zoo: Config, name: str) -> int:
    """The queries that a system met since `warm`."""
    met, at = 0, name
    while at != "warm":
        own = zoo.systems[at]
        assert own.train.steps is not None and own.from_ is not None
        met, at = met + own.train.steps * own.train.batch_size, own.from_
    return met


def test_every_method_meets_as_many_queries(zoo: Config) -> None:
    of_recipes = {name for name in zoo.systems if "." in name}
    for name in zoo.systems.keys() - OF_ANOTHER_BUDGET - of_recipes:
        assert queries_met(zoo, name) == (2 if name in TWICE else 1) * 72 * 64, name


def small_zoo(folder: Path) -> dict[str, Any]:
    """The zoo on a small collection: every system of it with a few steps."""
    content = read_yaml(ZOO)
    train = {"steps": 3, "batch_size": 8, "lr": 1e-3, "warmup_steps": 0, "log_every": 1, "rows_per_forward": 8}
    systems: dict[str, Any] = {}
    for name, own in content["systems"].items():
        if own is None or name in NEEDS_A_WRITER:
            continue
        own = {**own, **({"train": train} if "train" in own else {})}
        if "steps" in own:
            own["steps"] = {step: merge(given, {"train": train}) for step, given in own["steps"].items()}
        systems[name] = own
    systems["negative_cache"] |= {"source": {"name": "cache", "size": 20}}
    systems["adore_pq"] |= {"index": {"factory": "PQ4x4"}}
    systems["jpq"] |= {"index": {"factory": "PQ4x4"}}
    for name in ("tas", "tas_balanced"):
        if name in systems:
            systems[name] |= {"order": {"name": "topics", "clusters": 3, "per_batch": 1}}
    return {**small_config(), "systems": systems, "export": [], "splits": {"evaluate": ["test"]}}


WEIGHTS = {"encoder", "classifier"}
"""The folders that a training's weights lie in."""


def weights(made: Artifact) -> str:
    """A digest of all weights that a training left, its centroids included."""
    paths = [path for path in sorted(made.folder.rglob("*.safetensors")) if WEIGHTS & set(path.parts)]
    assert paths
    digest = hashlib.sha256()
    for path in paths:
        for name, tensor in sorted(load_file(path).items()):
            digest.update(name.encode() + np.ascontiguousarray(tensor).tobytes())
    for path in sorted(made.folder.rglob("*.npy")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_every_method_trains_and_none_is_another(tmp_path: Path) -> None:
    project = new_project(tmp_path / "zoo")
    stages = Stages(project.folder, small_zoo(project.folder))
    last = {name: rounds[-1] for name, rounds in stages.plan.rounds.items() if rounds}
    made = {name: weights(stages.make(stage)) for name, stage in last.items()}
    assert len(made) > len(names()) - len(OF_THE_USER) - len(NEEDS_A_WRITER)  # recipes train several
    same = [pair for pair in itertools.combinations(made, 2) if made[pair[0]] == made[pair[1]]]
    # A step of a recipe is a preset as it stands, and with one budget for all it is the same stage.
    assert [pair for pair in same if last[pair[0]].version != last[pair[1]].version] == []
    assert all(any("." in name for name in pair) for pair in same)
