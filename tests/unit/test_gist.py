"""A guide leaves out what it scores above the positive, in the batch and among mined negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import JUDGED, RUNTIME, TRAIN, Small, dense_teacher, mined_lists, small, training_settings

from hardneg.config import load
from hardneg.methods.draws import Relevance
from hardneg.methods.grading import Guided
from hardneg.methods.published import preset
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.training.draws import Draws
from hardneg.training.train import train

SYSTEM = preset("gist")["system"]
RANDOM = np.random.default_rng(3)
VECTORS = {what: RANDOM.normal(size=(rows, 4)).astype(np.float32) for what, rows in (("queries", 12), ("passages", 40))}


def answers(**guide: float) -> dict[str, Any]:
    sampler = {"name": "uniform", "k": 3, "count": 2}
    given = {key: SYSTEM[key] for key in ("loss", "batch")}
    return {**given, "source": "run", "sampler": sampler, "labels": {"name": "guide", **guide}}


def parents_in(folder: Path) -> dict[str, Artifact]:
    mined = mined_lists(folder / "mined", {q: [20, 21, 22] for q in range(12)})
    return {"negatives": mined, **dense_teacher(folder, VECTORS)}


@pytest.mark.parametrize(("absolute", "relative"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.2), (-0.3, 0.1)])
@pytest.mark.parametrize("trains", ["both_encoders", "query_encoder"])
def test_a_step_compares_what_the_guide_holds_for_worse(
    trains: str, absolute: float, relative: float, tmp_path: Path
) -> None:
    batch = {"batch": "own"} if trains == "query_encoder" else {}
    chosen = {**answers(absolute=absolute, relative=relative), **batch}
    parents, train_settings = parents_in(tmp_path), {**TRAIN, "batch_size": 5}
    draws = Draws.of(training_settings(trains, **chosen, train=train_settings), parents, JUDGED)
    plain = Draws.of(
        training_settings(trains, **{**chosen, "labels": "judgements"}, train=train_settings), parents, JUDGED
    )
    left_out = 0
    for step in range(6):
        meeting, before = draws.at(step), plain.at(step)
        passages = np.broadcast_to(before.passages, before.listed.shape)
        for i, query in enumerate(before.rows):
            scores = VECTORS["passages"][np.maximum(passages[i], 0)] @ VECTORS["queries"][query]
            own = [scores[j] for j in np.flatnonzero(before.listed[i] & (before.grades[i] > 0))]
            for j in range(len(scores)):
                expected = bool(before.listed[i, j])
                if expected and before.grades[i, j] == 0:
                    expected = scores[j] <= min(own) - absolute - relative * abs(min(own))
                    left_out += not expected
                assert meeting.listed[i, j] == expected
        assert (meeting.grades == before.grades).all() and (meeting.judged == before.judged).all()
    assert left_out > 10


def test_unknown_scores_and_missing_positives_leave_all() -> None:
    guide = Guided(lambda query, passage: np.zeros((1, 1), np.float32), 0.0, 0.0)
    scores = np.array([[np.nan, 3.0, 1.0], [0.5, np.nan, 0.6], [2.0, 2.0, 2.1]], np.float32)
    grades = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0]])
    left = guide.relabel(scores, Relevance(grades, np.ones((3, 3), bool), grades[:, :1])).listed
    assert left.tolist() == [[True, True, True], [True, True, False], [True, True, False]]


def test_it_trains_and_the_guide_is_what_it_starts_from(tmp_path: Path) -> None:
    made: Small = small(tmp_path / "made")
    stage = made.training(tmp_path / "run", parents_in(tmp_path), **answers(), train={**TRAIN, "steps": 2})
    train(stage, RUNTIME, [torch.device("cpu")])
    budget = {"train": {"steps": 5}}
    systems = {"warm": {"preset": "inbatch", **budget}, "gist": {"preset": "gist", "from": "warm", **budget}}
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": systems}))
    (stage_,) = [stage for stage in plan.of("dual_encoder") if stage.label == "gist"]
    assert {stage_.parents[f"{what}_teacher"].label for what in ("passages", "queries")} == {"warm"}
