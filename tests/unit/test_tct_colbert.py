"""TCT-ColBERT: a late interaction scores all that meets, and the student learns its distribution by KL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import in_batch, loss_of
from made import JUDGED, RUNTIME, TRAIN, Small, mined_lists, noted_scores, seal, small, stage_of, training_settings

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.batch import TrainingBatch
from hardneg.methods.published import preset
from hardneg.model.late_interaction import LateInteraction, token_vectors
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws
from hardneg.training.train import train

CPU = torch.device("cpu")
SYSTEM = preset("tct_colbert")["system"]
ANSWERS: dict[str, Any] = {
    "source": "run",
    "sampler": {**SYSTEM["sampler"], "k": 3},
    **{key: SYSTEM[key] for key in ("labels", "loss", "batch")},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def parents(made: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("parents")
    stage = stage_of(folder / "late", {})
    teacher = seal(stage, LateInteraction(made.encoder(seed=3), 6).save(stage.folder))
    mined = mined_lists(folder / "mined", {q: [20, 21, 22] for q in range(12)})
    return {"negatives": mined, "late_teacher": teacher, "late_tokens": made.tokens}


def score_of(made: Small, model: LateInteraction, query: int, passage: int) -> float:
    """The teacher's score of a pair, token by token."""
    vectors = []
    for name, position in (("queries.train", query), ("passages", passage)):
        store, chosen = TokenStore(made.tokens, name), np.array([position])
        with torch.no_grad():
            vectors.append(token_vectors(model, store, chosen, 1, CPU)[0, : int(store.lengths(chosen)[0])])
    return sum(max(float(asked @ read) for read in vectors[1]) for asked in vectors[0])


@pytest.mark.parametrize("trains", ["both_encoders", "query_encoder"])
def test_the_teacher_scores_every_pair_that_meets(made: Small, parents: dict[str, Artifact], trains: str) -> None:
    batch = {"batch": "own"} if trains == "query_encoder" else {}
    settings = training_settings(trains, **{**ANSWERS, **batch}, train={**TRAIN, "batch_size": 3})
    draws = Draws.of(settings, parents, JUDGED)
    meeting = draws.at(1)
    scores = draws.teacher_scores(meeting)
    assert scores is not None and scores.shape == meeting.listed.shape and draws.second_scores(meeting) is None
    passages = np.broadcast_to(meeting.passages, scores.shape)
    model = LateInteraction.load(parents["late_teacher"]).eval()
    for i, j in np.ndindex(*scores.shape):
        if passages[i, j] < 0:
            assert np.isnan(scores[i, j])
        else:
            expected = score_of(made, model, int(meeting.rows[i]), int(passages[i, j]))
            assert scores[i, j] == pytest.approx(expected, abs=1e-4)


def test_the_loss_of_a_step_is_the_kl_over_the_batch(made: Small, parents: dict[str, Artifact], tmp_path: Path) -> None:
    files = [parents["late_teacher"].path(name) for name in parents["late_teacher"].manifest["files"]]
    before = [file.read_bytes() for file in files]
    one = {**TRAIN, "steps": 1, "log_every": 1, "batch_size": 3}
    stage = made.training(tmp_path / "run", parents, **ANSWERS, train=one)
    with noted_scores() as seen:
        train(stage, RUNTIME, [CPU])
    meeting = Draws.of(stage.settings, parents, JUDGED).at(0)
    terms, model = [], LateInteraction.load(parents["late_teacher"]).eval()
    for row, query in enumerate(meeting.rows):
        met = np.flatnonzero(meeting.listed[row])
        taught = torch.tensor([score_of(made, model, query, passage) for passage in meeting.passages[met]])
        shares, own_shares = (taught / 0.25).softmax(0), seen[0][row, met].detach().softmax(0)
        terms.append(float((shares * (shares.log() - own_shares.log())).sum()))
    logged = np.loadtxt(stage.folder / "loss.csv", delimiter=",", skiprows=1, ndmin=2)[0, 1]
    assert logged == pytest.approx(np.mean(terms), rel=1e-3)
    assert [file.read_bytes() for file in files] == before  # the teacher does not train


def test_equal_distributions_have_no_loss_and_a_scale_is_a_temperature() -> None:
    scores = torch.randn(3, 6, dtype=torch.float64).requires_grad_()
    batch = in_batch(scores)

    def with_teacher(teacher: torch.Tensor) -> TrainingBatch:
        return TrainingBatch(**{**vars(batch), "teacher": teacher})

    settings = {key: value for key, value in SYSTEM["loss"].items() if key != "name"}
    same = with_teacher(scores.detach() * settings["teacher_temperature"] + 2)
    assert float(loss_of(same, "kl_list", **settings).detach()) == pytest.approx(0, abs=1e-6)
    other = torch.randn(3, 6)
    quarter = loss_of(with_teacher(other), "kl_list", **settings)
    whole = loss_of(with_teacher(4 * other), "kl_list", **{**settings, "teacher_temperature": 1.0})
    assert float(quarter.detach()) == pytest.approx(float(whole.detach()), rel=1e-5) and float(quarter.detach()) > 0.01


# --- plans ---


def plan_of(**more: Any) -> Plan:
    systems: dict[str, Any] = {"bm25": {"preset": "bm25"}, "colbert": {"preset": "colbert", "train": {"steps": 5}}}
    return Plan(load({"collection": {"format": "pydocs"}, "systems": {**systems, **more}}))


def test_the_plan_gives_the_teacher_and_its_tokens() -> None:
    plan = plan_of(tried={"preset": "tct_colbert", "train": {"steps": 5}})
    (stage,) = plan.of("dual_encoder")
    assert stage.parents["late_teacher"] is plan.of("late_interaction")[0]
    assert stage.parents["late_tokens"] is stage.parents["tokens"]
    assert not {"teacher", "passages_teacher"} & stage.parents.keys()


def test_only_a_late_interaction_teaches_so() -> None:
    tried = {"preset": "tct_colbert", "labels": {"system": "cross"}, "train": {"steps": 5}}
    with pytest.raises(HardnegError, match="needs a late interaction"):
        plan_of(cross={"preset": "cross_encoder", "train": {"steps": 5}}, tried=tried)
