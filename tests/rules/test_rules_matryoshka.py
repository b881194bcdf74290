"""Narrower vectors (Matryoshka): the loss at each width, and a system for each that ranks by the cut vectors."""

from __future__ import annotations

import contextlib
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TOPICS, small_config, write_collection
from faults import CHECKS, Check
from made import RUNTIME, TRAIN, Small, mined_lists, small
from made_stages import TRAIN as BUDGET
from made_stages import Stages, columns

from hardneg.cli.ask import Answerer
from hardneg.config import load
from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.model.narrow import narrow
from hardneg.training.draws import Draws
from hardneg.training.scorers import BothEncoders
from hardneg.training.train import train

CPU = torch.device("cpu")
WIDTH = 8


def cut(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, :WIDTH] / np.linalg.norm(vectors[:, :WIDTH], axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("narrow")
    write_collection(folder / "data")
    config = small_config()
    config["encoder"]["dims"] = [WIDTH]
    config["systems"] = {"bm25": {"preset": "bm25"}, "inbatch": {"preset": "inbatch_softmax", "train": BUDGET}}
    config |= {"export": [], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    config["splits"] = {"evaluate": ["test"]}
    return Stages(folder, config)


def test_the_narrow_system_ranks_by_the_cut_vectors(made: Stages) -> None:
    whole, narrow_ = made.made("passages", "inbatch"), made.made("narrowed", "inbatch.dim8")
    vectors = np.concatenate([np.load(whole.path(name)) for name in whole.facts["shards"]])
    passages = np.concatenate([np.load(narrow_.path(name)) for name in narrow_.facts["shards"]])
    np.testing.assert_allclose(passages, cut(vectors), atol=1e-6)
    asked = np.load(made.made("queries", "inbatch").path("queries.test.npy"))
    run = columns(made.made("run", "inbatch.dim8"), "run.test.parquet")
    scores = cut(asked) @ cut(vectors).T
    for query in range(TOPICS):
        found = run["passage"][run["query"] == query]
        np.testing.assert_allclose(scores[query, found], -np.sort(-scores[query])[: len(found)], atol=1e-6)
    assert made.stage("measure", "inbatch.dim8").parents["run"] is made.stage("run", "inbatch.dim8")


def test_new_questions_are_cut_too(made: Stages) -> None:
    made.made("run", "inbatch.dim8")
    text = str(columns(made.made("collection"), "queries.test.parquet")["text"][0])
    with contextlib.chdir(made.folder):
        best = Answerer(made.plan, "inbatch.dim8").answer(text, 3)
    run = columns(made.made("run", "inbatch.dim8"), "run.test.parquet")
    ids = columns(made.made("collection"), "passages.parquet")["passage_id"]
    assert [one.id for one in best] == list(ids[run["passage"][run["query"] == 0][:3]])


def test_the_loss_is_the_sum_over_widths(tmp_path: Path) -> None:
    made: Small = small(tmp_path / "made")
    answers: dict[str, Any] = {"source": "run", "sampler": {"name": "uniform", "k": 3}, "loss": "softmax"}
    parents = {"negatives": mined_lists(tmp_path / "mined", {q: [20, 21, 22] for q in range(12)})}
    options = {**TRAIN, "steps": 1, "log_every": 1, "lr": 0.0}

    def alone(dims: list[int]) -> float:
        folder = tmp_path / f"run{number()}"
        stage = made.training(folder, parents, **answers, train=options, **({"dims": dims} if dims else {}))
        train(stage, RUNTIME, [CPU])
        return float(np.loadtxt(folder / "loss.csv", delimiter=",", skiprows=1)[1])

    number = count().__next__
    logged = alone([WIDTH, 4])
    assert logged == pytest.approx(alone([WIDTH]) + alone([4]) - alone([]), rel=1e-5)
    assert alone([16, WIDTH]) == alone([WIDTH]), "the whole width counts once"
    assert len({round(alone(dims), 4) for dims in ([], [WIDTH], [4])}) == 3


def test_the_whole_width_is_the_vectors_themselves() -> None:
    vectors = torch.randn(3, 8)
    assert narrow(vectors, 8, True) is vectors


def test_scores_at_a_width_are_those_of_the_cut_vectors(tmp_path: Path) -> None:
    made: Small = small(tmp_path / "made")
    stage = made.training(tmp_path / "run", train=TRAIN)
    judged = Judgements.read(made.collection.path("qrels.train.parquet"), 12, 40)
    scorer, meeting = BothEncoders(stage, RUNTIME, CPU), Draws.of(stage.settings, stage.parents, judged).at(0)
    query = scorer.queries(meeting.rows)
    scorer.scores(query, meeting)
    assert scorer.encoded is not None
    by_hand = cut(query.detach().numpy()) @ cut(scorer.encoded.detach().numpy()).T / 0.05
    np.testing.assert_allclose(scorer.narrower(query, WIDTH).detach().numpy(), by_hand, atol=1e-4)


def test_widths_that_cannot_be_are_refused() -> None:
    with pytest.raises(HardnegError, match="more than they have"):
        narrow(torch.ones(2, 8), 9, True)
    warm = {"warm": {"preset": "inbatch", "train": {"steps": 3}}}
    for dims in ([256], [8, 8]):  # builtin:tiny is 128 wide
        with pytest.raises(HardnegError, match=r"encoder\.dims"):
            load({"collection": {"format": "pydocs"}, "encoder": {"dims": dims}, "systems": warm})
    systems: dict[str, dict[str, Any]] = {
        "warm": {"preset": "inbatch", "train": {"steps": 3}},
        "cut": {"from": "warm", "width": 8},
    }
    for more in ({}, {"trains": "nothing", "from": None}):
        chosen = {"collection": {"format": "pydocs"}, "systems": {**systems, "cut": {**systems["cut"], **more}}}
        with pytest.raises(HardnegError, match=r"systems\.cut"):
            load(chosen)
    systems["cut"] = {"from": "warm", "width": 8, "trains": "nothing"}
    systems["more"] = {"preset": "star", "from": "cut", "train": {"steps": 3}}
    with pytest.raises(HardnegError, match="name warm, which it is cut from"):
        load({"collection": {"format": "pydocs"}, "systems": systems})


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_narrower_vectors_are_told(made: Stages, check: Check, tmp_path: Path) -> None:
    check(made, made.stage("narrowed"), tmp_path)
