"""Targets by stage name, and --until: what each would run in a project that has run nothing."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT, Project, new_project

from hardneg.config import load
from hardneg.planning.plan import Plan
from hardneg.planning.targets import targets
from hardneg.stages.kinds import KINDS
from hardneg.stages.stage import Stage

COLLECTION = {"prepare_collection": 1}
BM25 = COLLECTION | {"index_bm25": 1, "search_bm25": 2}
WARM_UP = COLLECTION | {
    "make_tokenizer": 1,
    "tokenize_texts": 1,
    "index_bm25": 1,
    "search_bm25": 1,
    "mine_negatives": 1,
    "train_dual_encoder": 1,
}
MINE = WARM_UP | {
    "encode_passages": 2,
    "seal_passages": 1,
    "encode_queries": 1,
    "search_dense": 1,
    "mine_negatives": 2,
}
STAR = MINE | {"train_dual_encoder": 2}
STAR_ENCODED = STAR | {"encode_passages": 4, "seal_passages": 2}
ADORE = STAR_ENCODED | {"build_index": 1, "train_query_encoder": 1}
EVALUATE = ADORE | {
    "search_bm25": 2,
    "encode_queries": 4,
    "build_index": 2,
    "search_dense": 4,
    "measure_run": 4,
    "export_system": 1,
    "summarise_measures": 1,
}
ANALYSE = ADORE | {
    "search_bm25": 2,
    "encode_queries": 4,
    "build_index": 2,
    "search_dense": 4,
    "count_errors": 3,
    "diagnose_negatives": 3,
    "compare_rankings": 1,
}
EXPORT = ADORE | {"encode_queries": 2, "search_dense": 2, "measure_run": 1, "export_system": 1}
TARGETS = {
    "bm25": BM25,
    "warmup": WARM_UP,
    "encode": ADORE | {"encode_queries": 4},
    "mine": MINE,
    "star": STAR,
    "index": STAR_ENCODED | {"build_index": 2},
    "adore": ADORE,
    "evaluate": EVALUATE,
    "analyse": ANALYSE,
    "export": EXPORT,
    "report": EVALUATE | ANALYSE | {"write_report": 1},
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(tmp_path_factory.mktemp("targets") / "project")


@pytest.fixture(scope="module")
def plan(empty: Project) -> Plan:
    with contextlib.chdir(empty.folder):
        return Plan(load(empty.config))


@pytest.mark.parametrize("target", ["bm25", "warmup", "encode", "mine", "star", "index", "adore"])
def test_a_target_needs_its_stage_and_what_that_reads(plan: Plan, target: str) -> None:
    """By the plan alone; that Snakemake does the same, the tests below show for some."""
    wanted = {stage.manifest: stage for stage in plan.stages}
    reached: dict[Path, Stage] = {}
    waiting = [wanted[Path(manifest)] for manifest in targets(plan, target)]
    while waiting:
        stage = waiting.pop()
        reached[stage.manifest] = stage
        waiting += stage.parents.values()
    counts = Counter(KINDS[stage.kind].script for stage in reached.values())
    counts["seal_passages"] = counts["encode_passages"]
    counts["encode_passages"] *= plan.config.runtime.shards
    assert {rule: count for rule, count in counts.items() if count} == TARGETS[target]
    assert f'rule {target}:\n    input:\n        targets(PLAN, "{target}"),' in (ROOT / "Snakefile").read_text("utf-8")


@pytest.mark.parametrize("target", ["encode", "evaluate", "analyse", "export"])
def test_a_target_runs_what_it_needs(empty: Project, target: str) -> None:
    assert empty.jobs(target) == TARGETS[target] | {target: 1}


def test_no_target_is_the_whole_flow(empty: Project) -> None:
    assert empty.jobs() == TARGETS["report"]


def test_until_stops_after_a_rule(empty: Project) -> None:
    assert empty.jobs("--until", "train_query_encoder") == ADORE


def test_a_stage_can_be_asked_for_by_its_file(finished: Project, empty: Project) -> None:
    manifest: Path = finished.stage("collection", "small").relative_to(finished.folder) / "manifest.json"
    assert empty.jobs(str(manifest)) == COLLECTION
