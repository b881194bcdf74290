"""Rankings of words that learn from judgements, by their scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import PASSAGES_EACH, TOPICS, small_config, write_collection
from faults import CHECKS, Check
from made_stages import TRAIN, Stages, check_run, columns, pairs

PASSAGES = TOPICS * PASSAGES_EACH
LIGHTGBM = "lightgbm is not installed: pip install '.[letor]'"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("words")
    write_collection(folder / "data")
    config = small_config()
    config["systems"] = {
        "bm25": {"preset": "bm25"},
        "letor": {"preset": "letor", "rerank": {"depth": 30}},
        "deepct": {"preset": "deepct", "train": TRAIN},
    }
    config |= {"letor": {"trees": 5, "least": 2}, "export": [], "splits": {"evaluate": ["test"]}}
    config["analyses"] = dict.fromkeys(("pairwise_errors", "negatives", "agreement"))
    config["arithmetic"] = {"training_threads": 1, "encoding_threads": 1}
    return Stages(folder, config)


def test_trees_reorder_their_first_stage(learnt: Stages) -> None:
    pytest.importorskip("lightgbm", reason=LIGHTGBM)
    model = learnt.made("letor")
    assert 0 < model.facts["relevant"] < model.facts["candidates"]
    assert model.path("model.txt").read_text(encoding="utf-8").count("\nTree=") == 5
    stage = learnt.stage("letor_run")
    made, first = learnt.make(stage), learnt.make(stage.parents["run"])
    table = check_run(made, "run.test.parquet", TOPICS, PASSAGES, 30)
    before = columns(first, "run.test.parquet")
    assert pairs(table) == pairs(before)
    assert len(np.unique(table["score"])) > 1


def test_weighted_words_are_indexed_and_ranked(learnt: Stages) -> None:
    model, weighted = learnt.made("deepct"), learnt.made("weighted")
    assert model.facts["steps"] == TRAIN["steps"] and model.facts["words"] > 0
    texts = columns(weighted, "texts.parquet")["text"].tolist()
    assert len(texts) == PASSAGES and 0 <= weighted.facts["dropped"] < weighted.facts["words"]
    repeated = [word for text in texts for word in text.split()]
    assert len(repeated) > weighted.facts["words"]
    index = learnt.made("bm25_index", "deepct")
    assert index.facts["passages"] == PASSAGES
    made = learnt.made("bm25_run", "deepct", splits=["test"])
    check_run(made, "run.test.parquet", TOPICS, PASSAGES, learnt.config["evaluation"]["depth"])


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_weighted_words_are_told(learnt: Stages, check: Check, tmp_path: Path) -> None:
    check(learnt, learnt.stage("deepct"), tmp_path / "model")
    check(learnt, learnt.stage("weighted"), tmp_path / "texts")


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_trees_are_told(learnt: Stages, check: Check, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason=LIGHTGBM)
    check(learnt, learnt.stage("letor"), tmp_path / "model")
    check(learnt, learnt.stage("letor_run"), tmp_path / "run")
