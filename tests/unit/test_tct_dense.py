"""In-batch distillation from a dense teacher: its scores of all pairs, the loss, and where its vectors come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import JUDGED, RUNTIME, TRAIN, Small, dense_teacher, mined_lists, noted_scores, small, training_settings

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.published import preset
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.training.draws import Draws
from hardneg.training.train import train

CPU = torch.device("cpu")
SYSTEM = preset("tct_dense")["system"]
ANSWERS: dict[str, Any] = {
    "source": "run",
    "sampler": {**SYSTEM["sampler"], "k": 3},
    **{key: SYSTEM[key] for key in ("labels", "loss", "batch")},
}
RANDOM = np.random.default_rng(0)
VECTORS = {what: RANDOM.normal(size=(rows, 4)).astype(np.float32) for what, rows in (("queries", 12), ("passages", 40))}


def parents_in(folder: Path) -> dict[str, Artifact]:
    mined = mined_lists(folder / "mined", {q: [20, 21, 22] for q in range(12)})
    return {"negatives": mined, **dense_teacher(folder, VECTORS)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("trains", ["both_encoders", "query_encoder"])
def test_the_teacher_scores_every_pair_that_meets(trains: str, tmp_path: Path) -> None:
    batch = {"batch": "own"} if trains == "query_encoder" else {}
    settings = training_settings(trains, **{**ANSWERS, **batch}, train={**TRAIN, "batch_size": 5})
    draws = Draws.of(settings, parents_in(tmp_path), JUDGED)
    meeting = draws.at(1)
    scores = draws.teacher_scores(meeting)
    assert scores is not None and scores.shape == meeting.listed.shape
    passages = np.broadcast_to(meeting.passages, scores.shape)
    for i, j in np.ndindex(*scores.shape):
        if passages[i, j] < 0:
            assert np.isnan(scores[i, j])
        else:
            expected = VECTORS["queries"][meeting.rows[i]] @ VECTORS["passages"][passages[i, j]]
            assert scores[i, j] == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_a_step_is_the_kl_over_the_batch(made: Small, tmp_path: Path) -> None:
    parents = parents_in(tmp_path)
    files = [folder.folder / name for folder in parents.values() for name in folder.manifest["files"]]
    before = [file.read_bytes() for file in files]
    stage = made.training(tmp_path / "run", parents, **ANSWERS, train={**TRAIN, "steps": 1, "log_every": 1})
    with noted_scores() as seen:
        train(stage, RUNTIME, [CPU])
    meeting = Draws.of(stage.settings, parents, JUDGED).at(0)
    terms = []
    for row, query in enumerate(meeting.rows):
        met = np.flatnonzero(meeting.listed[row])
        taught = torch.tensor([VECTORS["queries"][query] @ VECTORS["passages"][p] for p in meeting.passages[met]])
        shares, own_shares = (taught / 0.25).softmax(0), seen[0][row, met].detach().softmax(0)
        terms.append(float((shares * (shares.log() - own_shares.log())).sum()))
    logged = np.loadtxt(stage.folder / "loss.csv", delimiter=",", skiprows=1)[1]
    assert logged == pytest.approx(np.mean(terms), rel=1e-4)
    assert [file.read_bytes() for file in files] == before  # the teacher does not train


def systems(**more: Any) -> dict[str, Any]:
    budget = {"steps": 5}
    others = {"bm25": {"preset": "bm25"}, "warm": {"preset": "bm25neg", "train": budget}}
    others["cross_encoder"] = {"preset": "cross_encoder", "train": budget}
    return {"collection": {"format": "pydocs"}, "systems": {**others, **more}}


@pytest.mark.parametrize("teacher", [None, "other"])
def test_the_plan_gives_the_teachers_vectors(teacher: str | None) -> None:
    budget = {"steps": 5}
    tried: dict[str, Any] = {"preset": "tct_dense", "from": "warm", "train": budget}
    if teacher:
        tried["labels"] = {"system": teacher}
    plan = Plan(load(systems(other={"preset": "inbatch", "train": budget}, tried=tried)))
    (stage,) = [stage for stage in plan.of("dual_encoder") if stage.label == "tried"]
    assert {stage.parents[f"{what}_teacher"].label for what in ("passages", "queries")} == {teacher or "warm"}


def test_only_a_dense_system_teaches_so() -> None:
    tried = {"preset": "tct_dense", "from": "warm", "labels": {"system": "cross_encoder"}, "train": {"steps": 5}}
    with pytest.raises(HardnegError, match="cannot read this system"):
        load(systems(tried=tried))
