"""What jobs ask of a scheduler: something for every stage of every method, and more for a larger collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardneg.config import load
from hardneg.estimate.resources import LEAST_MB, Resources
from hardneg.methods import published
from hardneg.planning.plan import Plan
from hardneg.stages.kinds import KINDS

TRAIN = {"steps": 4, "batch_size": 8}
ELSEWHERE = {"given_run", "given_vectors", "zero_shot"}


def everything() -> Plan:
    """Every preset and recipe that needs no files and no other study."""
    systems: dict[str, Any] = {"bm25": {"preset": "bm25"}, "cross_encoder": {"preset": "cross_encoder", "train": TRAIN}}
    systems["warm"] = {"preset": "bm25neg", "train": TRAIN}
    for name in published.names():
        if name not in ELSEWHERE | systems.keys():
            untrained = published.preset(name).get("system", {}).get("trains") == "nothing"
            systems[f"by_{name}"] = {"preset": name, **({} if untrained else {"from": "warm", "train": TRAIN})}
    return Plan(load({"collection": {"format": "pydocs"}, "systems": systems}))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("resources"))
        return everything()


def test_every_stage_of_every_method_asks_for_memory_and_time(plan: Plan) -> None:
    resources = Resources(plan)
    kinds = {stage.kind for stage in plan.stages}
    assert {"rerank", "pair_scores", "clusters", "cross_encoder", "query_encoder", "dual_encoder"} <= kinds
    for stage in plan.stages:
        minutes = KINDS[stage.kind].minutes
        assert resources.memory_mb(stage) >= LEAST_MB and resources.minutes(stage, minutes) == minutes


def test_a_larger_collection_asks_for_more(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are those of the prepared collection. An index is built file by file, so its memory stops at one file."""
    monkeypatch.chdir(tmp_path)
    index = next(stage for stage in plan.stages if stage.kind == "index")
    assumed = Resources(plan).memory_mb(index)
    splits = {split: {"queries": 1000} for split in ("train", "dev", "test")}
    plan.collection.manifest.parent.mkdir(parents=True)
    facts = {"passages": 10_000_000, "splits": splits}
    plan.collection.manifest.write_text(json.dumps({"facts": facts}), encoding="utf-8")
    resources = Resources(plan)
    assert resources.memory_mb(index) > assumed
    assert resources.minutes(index, 60) == 600
