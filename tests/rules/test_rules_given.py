"""A project of scored rows: from the file to trainings on its own negatives and scores, each stage by its script."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import small_config, words
from faults import CHECKS, Check
from made_stages import TRAIN, Stages, columns, pairs

from hardneg.data.judgements import Judgements
from hardneg.training.draws import Draws

GIVEN: dict[str, Any] = {"preset": "given_negatives", "train": TRAIN}
SYSTEMS: dict[str, Any] = {
    "given": GIVEN,
    "filtered": {**GIVEN, "filter": {"name": "margin", "absolute": 0.5}},
    "simans": {"preset": "simans", "from": "given", "source": {"name": "given", "depth": 200}, "train": TRAIN},
    "judged": {**GIVEN, "from": "given", "filter": {"name": "teacher", "system": "given", "absolute": 0.1}},
    "margins": {"preset": "margin_mse", "source": {"name": "given", "depth": 200}, "labels": "given", "train": TRAIN},
    "lists": {"preset": "kl_list", "source": {"name": "given", "depth": 200}, "labels": "given", "train": TRAIN},
}


def write_rows(folder: Path, scored: bool = True, negatives: bool = True) -> None:
    """120 questions, each with one or two answers and up to six negatives."""
    rng = Random(3)
    rows = []
    for number in range(120):
        own = [" ".join(words(rng, 8)) for _ in range(rng.randint(2, 8))]
        cut = rng.randint(1, 2)
        row: dict[str, Any] = {"query": " ".join([*own[0].split()[:3], str(number)]), "pos": own[:cut]}
        row |= {"neg": own[cut:]} if negatives else {}
        if scored:
            row |= {f"{key}_scores": [rng.gauss(key == "pos", 1) for _ in row[key]] for key in ("pos", "neg")}
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def project(folder: Path, systems: dict[str, Any]) -> Stages:
    config = small_config()
    config |= {"systems": systems, "export": [], "splits": {"evaluate": ["dev"]}}
    config["collection"] = {"format": "pairs", "name": "rows", "path": "rows.jsonl", "holdout": {"dev": 0.2}}
    config["arithmetic"] = {"training_threads": 1, "encoding_threads": 1}
    return Stages(folder, config)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("given")
    write_rows(folder)
    return project(folder, SYSTEMS)


@pytest.mark.parametrize("label", list(SYSTEMS))
def test_it_trains(given: Stages, label: str) -> None:
    stage = given.stage("dual_encoder", label)
    made = given.make(stage)
    loss = pd.read_csv(made.path("loss.csv"))["loss"]
    assert np.isfinite(loss).all() and (loss > 0).all()
    assert made.facts["queries"] == given.made("collection").facts["splits"]["train"]["queries"] > 80


def test_mined_lists_are_the_given_ones_and_the_filter_reads_given_scores(given: Stages) -> None:
    (bare, filtered) = (given.stage("dual_encoder", label).parents["negatives"] for label in ("given", "filtered"))
    all_given = columns(given.make(given.stage("dual_encoder", "margins").parents["teacher"]), "run.train.parquet")
    kept = columns(given.make(bare), "negatives.parquet")
    assert pairs(kept) == pairs(all_given) and len(kept["query"]) > 200
    made = given.make(filtered)
    positives = columns(made, "positives.parquet")
    lowest = pd.Series(positives["score"]).groupby(positives["query"]).min()
    assert np.isfinite(positives["score"]).all()
    stays = {
        (q, p)
        for q, p, s in zip(all_given["query"].tolist(), all_given["passage"].tolist(), all_given["score"], strict=True)
        if s <= np.float32(lowest[q]) - 0.5
    }
    assert pairs(columns(made, "negatives.parquet")) == stays and 0 < len(stays) < len(all_given["query"])
    assert made.facts["filters"]["margin"] == {"removed": len(all_given["query"]) - len(stays), "positives": 0}


def test_a_teachers_filter_keeps_what_its_vectors_score_below_the_positive(given: Stages) -> None:
    mined = given.stage("dual_encoder", "judged").parents["negatives"]
    made, scored = given.make(mined), given.make(mined.parents["teacher.1"])
    table = columns(scored, "scores.parquet")
    scores = dict(zip(zip(table["query"], table["passage"], strict=True), table["score"].tolist(), strict=True))
    relevant = pairs(columns(given.made("collection"), "qrels.train.parquet"))
    every = pairs(columns(given.make(mined.parents["run"]), "run.train.parquet"))
    assert relevant | every == set(scores)
    lowest: dict[int, float] = {}
    for query, passage in relevant:
        lowest[query] = min(scores[query, passage], lowest.get(query, np.inf))
    stays = {(query, passage) for query, passage in every if scores[query, passage] <= lowest[query] - 0.1}
    assert pairs(columns(made, "negatives.parquet")) == stays and 0 < len(stays) < len(every)
    assert made.facts["filters"]["teacher"]["removed"] == len(every) - len(stays)


@pytest.mark.parametrize("label", ["margins", "lists"])
def test_the_teacher_of_a_step_is_what_the_rows_say(given: Stages, label: str) -> None:
    stage = given.stage("dual_encoder", label)
    parents = {role: given.make(parent) for role, parent in stage.parents.items()}
    collection = parents["collection"]
    texts = columns(collection, "passages.parquet")["text"]
    asked = columns(collection, "queries.train.parquet")["text"]
    said: dict[tuple[str, str], float] = {}
    for line in (given.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for key in ("pos", "neg"):
            said |= {(row["query"], text): s for text, s in zip(row[key], row[f"{key}_scores"], strict=True)}
    counts = len(asked), len(texts)
    draws = Draws.of(stage.settings, parents, Judgements.read(collection.path("qrels.train.parquet"), *counts))
    own = 0
    for meeting in map(draws.at, range(TRAIN["steps"])):
        scores = draws.teacher_scores(meeting)
        assert scores is not None
        for row, query in enumerate(meeting.rows):
            for column, passage in enumerate(meeting.passages):
                expected = said.get((asked[query], texts[passage]), np.nan) if passage >= 0 else np.nan
                assert scores[row, column] == pytest.approx(expected, nan_ok=True)
                own += int(meeting.listed[row, column])
                assert not (meeting.listed[row, column] and np.isnan(expected))
    assert own > 2 * TRAIN["batch_size"] * TRAIN["steps"] - 20


@pytest.mark.parametrize(
    ("scored", "negatives", "label", "said"),
    [
        (False, False, "given", "The rows of the collection give no negatives."),
        (False, True, "filtered", "some have none"),
        (False, True, "margins", "reads the given scores of negatives"),
    ],
)
def test_a_collection_without_them_is_refused(
    tmp_path: Path, scored: bool, negatives: bool, label: str, said: str
) -> None:
    write_rows(tmp_path, scored, negatives)
    stages = project(tmp_path, {label: SYSTEMS[label]})
    stages.made("collection")
    stage = stages.stage("given_lists")
    (command,) = stages.commands(stage)
    answer = stages.call(command)
    assert answer.status == 1 and said in answer.err and "Traceback" not in answer.err


def test_unscored_negatives_train_where_nothing_reads_scores(tmp_path: Path, given: Stages) -> None:
    write_rows(tmp_path, scored=False)
    stages = project(tmp_path, {"given": GIVEN})
    made = stages.make(stages.stage("mine"))
    lists = columns(made, "negatives.parquet")
    assert (lists["score"] == -lists["rank"]).all()
    shutil.rmtree(tmp_path / "artifacts")


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_given_lists_are_told(given: Stages, check: Check, tmp_path: Path) -> None:
    check(given, given.stage("given_lists"), tmp_path)
