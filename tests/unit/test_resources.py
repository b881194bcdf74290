"""What jobs ask of a scheduler: something for every stage of every method, and more for a larger collection."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from hardneg.config import load
from hardneg.estimate.laws.table import law_of
from hardneg.estimate.resources import LEAST_MB, Resources
from hardneg.estimate.speeds.assumed import assumed
from hardneg.methods import published
from hardneg.planning.plan import Plan
from hardneg.stages.kinds import KINDS

TRAIN = {"steps": 4, "batch_size": 8}
ELSEWHERE = {"given_run", "given_vectors", "given_negatives", "zero_shot"}


def everything() -> Plan:
    """Every preset and recipe that needs no files, no other study and no rows of pairs."""
    teachers = {name: {"preset": name, "train": TRAIN} for name in ("cross_encoder", "colbert")}
    systems: dict[str, Any] = {"bm25": {"preset": "bm25"}, **teachers, "deepct": {"preset": "deepct", "train": TRAIN}}
    systems["warm"] = {"preset": "bm25neg", "train": TRAIN}
    for name in published.names():
        if name not in ELSEWHERE | systems.keys():
            untrained = published.preset(name).get("system", {}).get("trains") == "nothing"
            reorders = published.preset(name).get("system", {}).get("retriever") == "rerank"
            start = {} if reorders else {"from": "warm"}
            systems[f"by_{name}"] = {"preset": name, **({} if untrained else {**start, "train": TRAIN})}
    return Plan(load({"collection": {"format": "pydocs"}, "generation": {"model": "written"}, "systems": systems}))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("resources"))
        return everything()


def test_every_stage_of_every_method_asks_for_memory_and_time(plan: Plan) -> None:
    resources = Resources(plan)
    kinds = {stage.kind for stage in plan.stages}
    assert {"rerank", "pair_scores", "clusters", "cross_encoder", "query_encoder", "dual_encoder"} <= kinds
    assert {"late_interaction", "letor", "letor_run", "deepct", "weighted"} <= kinds
    for stage in plan.stages:
        minutes = KINDS[stage.kind].minutes
        assert resources.memory_mb(stage) >= LEAST_MB and resources.minutes(stage, minutes) >= minutes


def test_a_larger_collection_asks_for_more(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are those of the prepared collection. An index is built file by file, so its memory stops at one file."""
    monkeypatch.chdir(tmp_path)
    index = next(stage for stage in plan.stages if stage.kind == "index")
    before = Resources(plan).memory_mb(index)
    splits = {split: {"queries": 1000} for split in ("train", "dev", "test")}
    plan.collection.manifest.parent.mkdir(parents=True)
    facts = {"passages": 10_000_000, "splits": splits}
    plan.collection.manifest.write_text(json.dumps({"facts": facts}), encoding="utf-8")
    resources = Resources(plan)
    assert resources.memory_mb(index) > before
    law, sizes = law_of(index, resources._sizes), resources._sizes
    assert law is not None
    seconds = law.seconds(index, sizes, assumed(sizes, {"hidden": 128, "layers": 1, "feed_forward": 256}))
    assert seconds == sizes.counts.passages * sizes.dense.dim * 4 / 50e6  # the vectors, at the assumed disk's speed
    assert resources.minutes(index, 1) == math.ceil(2 * seconds / 60)
    clusters = next(stage for stage in plan.stages if stage.kind == "clusters")
    assert resources.minutes(clusters, 60) == 600, "in proportion, where there is no law"


def test_longer_training_asks_for_more_time(plan: Plan) -> None:
    """In proportion to the steps: a forward and a backward pass of a step's texts, and the optimizer."""
    training = next(stage for stage in plan.stages if stage.kind == "dual_encoder" and stage.label == "by_star")
    resources, settings = Resources(plan), training.settings
    by_steps = []
    for steps in (100_000, 200_000):
        longer = {**settings, "train": {**settings["train"], "steps": steps}}
        by_steps.append(resources.minutes(replace(training, settings=longer), 1))
    assert by_steps[0] > 1 and by_steps[1] == pytest.approx(2 * by_steps[0], abs=2)


def test_a_training_on_several_devices_asks_for_what_its_processes_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a device, its threads and its memory; the texts of a step are shared, so that it takes less time."""
    monkeypatch.chdir(tmp_path)
    systems = {"bm25": {"preset": "bm25"}, "warm": {"preset": "bm25neg", "train": TRAIN}}
    plan, several = (
        Plan(load({"collection": {"format": "pydocs"}, "systems": systems, "runtime": runtime}))
        for runtime in ({}, {"gpus_per_training": 4, "gpus_per_search": 2})
    )
    one, four = Resources(plan), Resources(several)
    asked = {name: (four.gpus(kind), four.threads(kind) // one.threads(kind)) for name, kind in KINDS.items()}
    assert {name for name, (gpus, _) in asked.items() if gpus == 4} == {
        name for name, kind in KINDS.items() if kind.trains
    }
    assert asked["dual_encoder"] == asked["query_encoder"] == (4, 4) and asked["run"] == (2, 1)
    training = next(stage for stage in plan.stages if stage.kind == "dual_encoder")
    assert one.memory_mb(training) < four.memory_mb(training) <= 4 * one.memory_mb(training)
    longer = replace(training, settings={**training.settings, "train": {**training.settings["train"], "steps": 10**6}})
    assert four.minutes(longer, 1) < one.minutes(longer, 1)


def test_every_start_of_the_workflow_loads_no_numbers() -> None:
    """It must take a second or two, and each of these takes a part of one."""
    heavy = {"numpy", "torch", "pandas", "pyarrow", "transformers"}
    code = f"import sys, workflow_scripts.planning; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
