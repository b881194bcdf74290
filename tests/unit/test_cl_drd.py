"""CL-DRD: numbers of pairs, groups, their order-free insides, and the recipe of three steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from batches import assert_same, chosen, lists, loss_of, scores_of
from made import JUDGED, PASSAGES, QUERIES, TRAIN, training_settings

from hardneg.config import load
from hardneg.methods.axes import function_of
from hardneg.methods.batch import TrainingBatch
from hardneg.methods.draws import PairScores, Relevance
from hardneg.methods.lists import MinedLists
from hardneg.methods.published import preset
from hardneg.training.draws import Draws

STEPS: dict[str, Any] = preset("cl_drd")["steps"]
PAIRS = {"coarse": 291, "finer": 345, "finest": 415}


def graded(step: str, teacher: np.ndarray, scores: torch.Tensor) -> TrainingBatch:
    """Lists of 30 with the grades of a step."""
    settings = {key: value for key, value in STEPS[step]["labels"].items() if key != "system"}
    labels = chosen("labels", **settings, system="cross_encoder")
    made = function_of("labels", {key: value for key, value in labels.items() if key != "system"})(lambda *_: teacher)
    unjudged = Relevance(
        np.zeros_like(teacher, np.int64), np.ones_like(teacher, bool), np.zeros((len(teacher), 1), int)
    )
    grades, listed = map(torch.from_numpy, made.relabel(teacher, unjudged)[:2])
    return dataclasses.replace(lists(scores), grades=grades, listed=listed)


@pytest.fixture
def teacher() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 30)).astype(np.float32)


@pytest.mark.parametrize("step", list(STEPS))
def test_pairs_of_a_query_grow_by_step(step: str, teacher: np.ndarray) -> None:
    assert list(PAIRS.values()) == sorted(PAIRS.values())
    batch = graded(step, teacher, torch.zeros(4, 30))
    assert batch.better()[1].sum((1, 2)).tolist() == [PAIRS[step]] * 4
    order = np.argsort(-teacher, axis=1)
    in_order = np.take_along_axis(batch.grades.numpy(), order, 1)
    best, middle = STEPS[step]["labels"]["best"], STEPS[step]["labels"]["middle"]
    assert (in_order == [*range(best + 1, 1, -1), *[1] * middle, *[0] * (30 - best - middle)]).all()


def test_the_loss_is_a_plain_loop_with_the_students_ranks(teacher: np.ndarray) -> None:
    scores = scores_of(4, 30)
    batch = graded("coarse", teacher, scores)
    queries = []
    for row in range(4):
        ranks = (-scores[row].detach()).argsort().argsort() + 1
        label = [1 / (r + 1) if r < 5 else -0.25 if r < 17 else -0.5 for r in range(30)]  # as the authors write them
        y = dict(zip(np.argsort(-teacher[row]).tolist(), label, strict=True))
        terms = [
            (1 / ranks[i] - 1 / ranks[j]).abs() * torch.nn.functional.softplus(scores[row, j] - scores[row, i])
            for i in range(30)
            for j in range(30)
            if y[i] > y[j]
        ]
        queries.append(torch.stack(terms).mean())
    assert_same(loss_of(batch, STEPS["coarse"]["loss"]), torch.stack(queries).mean(), scores)


def test_permuting_a_group_changes_nothing_and_permuting_the_best_does(teacher: np.ndarray) -> None:
    scores, order = scores_of(4, 30), np.argsort(-teacher, axis=1)

    def swapped(first: int, second: int) -> float:
        other = teacher.copy()
        for row in range(4):
            i, j = order[row, first], order[row, second]
            other[row, i], other[row, j] = teacher[row, j], teacher[row, i]
        return loss_of(graded("coarse", other, scores), "reciprocal_ranknet").item()

    same = loss_of(graded("coarse", teacher, scores), "reciprocal_ranknet").item()
    assert swapped(5, 16) == same and swapped(17, 29) == same
    assert swapped(0, 1) != same and swapped(16, 17) != same


def test_unscored_passages_are_left_out(teacher: np.ndarray) -> None:
    teacher[0, 3] = np.nan
    batch = graded("coarse", teacher, torch.zeros(4, 30))
    assert not batch.listed[0, 3] and batch.listed.sum() == 119
    assert batch.grades[0].sort(descending=True).values[:6].tolist() == [6, 5, 4, 3, 2, 1] and batch.grades[0, 3] == 0


@pytest.mark.parametrize("trains", ["both_encoders", "query_encoder"])
def test_a_step_meets_its_own_list_in_the_teachers_order(trains: str) -> None:
    pairs = np.indices((QUERIES, PASSAGES)).reshape(2, -1)
    scores = np.random.default_rng(3).normal(size=pairs.shape[1]).astype(np.float32)
    scored = PairScores(pairs[0], pairs[1], scores, PASSAGES)
    mined = MinedLists(np.repeat(np.arange(QUERIES), 8), np.tile(np.arange(20, 28), QUERIES), QUERIES)
    labels = {"name": "groups", "system": "x", "best": 2, "middle": 3}
    sampler = {"name": "uniform", "k": 8, "count": 6, "positives": "one"}
    settings = training_settings(trains, source="run", sampler=sampler, labels=labels, train={**TRAIN, "batch_size": 4})
    draws = Draws(settings, JUDGED, [mined], teacher=function_of("labels", settings["labels"])(scored))
    for meeting in map(draws.at, range(5)):
        for row, query in enumerate(meeting.rows):
            met = meeting.listed[row]
            passages = np.broadcast_to(meeting.passages, meeting.listed.shape)[row][met]
            grades = meeting.grades[row][met]
            order = np.argsort(-scored(np.full(len(passages), query), passages))
            assert grades[order].tolist() == [3, 2, 1, 1, 1, 0, 0]
            assert meeting.judged[row, :6].tolist() == [3, 2, 1, 1, 1, 0]


def test_each_step_starts_from_the_one_before() -> None:
    train = {"steps": 5}
    systems = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": train},
        "cross_encoder": {"preset": "cross_encoder", "train": train},
        "cl": {"preset": "cl_drd", "from": "warm", "train": train},
    }
    loaded = load({"collection": {"format": "pydocs"}, "systems": systems}).systems
    names = ["cl.coarse", "cl.finer", "cl"]
    assert [loaded[name].from_ for name in names] == ["warm", "cl.coarse", "cl.finer"]
    bins = [loaded[name].labels.model_dump() for name in names]
    assert [(each["best"], each["middle"]) for each in bins] == [(5, 12), (10, 10), (20, 5)]
