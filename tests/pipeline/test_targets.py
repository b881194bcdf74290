"""Targets by stage name, and --until: what each would run in a project that has run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project, new_project

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


@pytest.mark.parametrize("target", TARGETS)
def test_target_runs_its_stage_and_what_it_needs(empty: Project, target: str) -> None:
    assert empty.jobs(target) == TARGETS[target] | {target: 1}


def test_no_target_is_the_whole_flow(empty: Project) -> None:
    assert empty.jobs() == TARGETS["report"]


def test_until_stops_after_a_rule(empty: Project) -> None:
    assert empty.jobs("--until", "train_query_encoder") == ADORE


def test_a_stage_can_be_asked_for_by_its_file(finished: Project, empty: Project) -> None:
    manifest: Path = finished.stage("collection", "small").relative_to(finished.folder) / "manifest.json"
    assert empty.jobs(str(manifest)) == COLLECTION
