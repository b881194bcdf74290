"""TAS-Balanced: one teacher of a row's own pair, another of what meets in the batch, and two losses that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from batches import assert_same, scores_of
from made import JUDGED, PASSAGES, QUERIES, TRAIN, training_settings

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.batch import Origin, TrainingBatch
from hardneg.methods.draws import PairScores
from hardneg.methods.lists import MinedLists
from hardneg.methods.published import preset
from hardneg.planning.plan import Plan
from hardneg.training.draws import Draws, Meeting

SYSTEM = preset("tas_balanced")["system"]
SCORES = np.random.default_rng(7).normal(size=(2, QUERIES, PASSAGES)).astype(np.float32)


def teacher(scores: np.ndarray) -> PairScores:
    query, passage = np.mgrid[:QUERIES, :PASSAGES]
    return PairScores(query.ravel(), passage.ravel(), scores.ravel(), PASSAGES)


def drawn(step: int) -> tuple[Draws, Meeting]:
    """A step of the preset on five candidates; both teachers have scored every pair."""
    found = list(range(30, 35))
    lists = MinedLists(np.repeat(np.arange(QUERIES), 5), np.tile(found, QUERIES), QUERIES)
    answers = {key: SYSTEM[key] for key in ("labels", "loss", "batch", "sampler")}
    settings = training_settings(**answers, source="run", train={**TRAIN, "batch_size": 5})
    draws = Draws(settings, JUDGED, [lists], teacher=teacher(SCORES[0]), second=teacher(SCORES[1]))
    return draws, draws.at(step)


def test_the_first_teacher_scores_a_rows_own_passages_and_the_second_all() -> None:
    draws, meeting = drawn(2)
    first, second = draws.teacher_scores(meeting), draws.second_scores(meeting)
    assert first is not None and second is not None
    for i, j in np.ndindex(*meeting.listed.shape):
        own = j in (i, 5 + i)  # five positives, then five negatives
        query, passage = meeting.rows[i], meeting.passages[j]
        assert second[i, j] == SCORES[1, query, passage]
        assert first[i, j] == SCORES[0, query, passage] if own else np.isnan(first[i, j])


def batch_of(meeting: Meeting, draws: Draws, scores: torch.Tensor) -> TrainingBatch:
    names = ("grades", "listed", "origin", "passages", "judged")
    given = {name: torch.from_numpy(np.asarray(getattr(meeting, name))) for name in names}
    taught = {"teacher": draws.teacher_scores(meeting), "second": draws.second_scores(meeting)}
    return TrainingBatch(scores, **given, **{name: torch.from_numpy(value) for name, value in taught.items()})


def test_the_two_losses_add_up() -> None:
    draws, meeting = drawn(4)
    scores = scores_of(5, 10)
    batch = batch_of(meeting, draws, scores)
    losses = draws._settings["loss"]
    assert [(each["name"], each["weight"]) for each in losses] == [("margin_mse", 1.0), ("in_batch_margin_mse", 0.75)]
    total = sum(each["weight"] * function_of("loss", each)(batch) for each in losses)

    def square(row: int, other: int, which: int) -> torch.Tensor:
        """Of the difference between the student's margin and a teacher's; the row's positive is in its own column."""
        high, low = SCORES[which, meeting.rows[row]][meeting.passages[[row, other]]]
        return (scores[row, row] - scores[row, other] - float(high - low)) ** 2

    own = torch.stack([square(row, 5 + row, 0) for row in range(5)]).mean()
    halves = []
    for first in (5, 0):  # other rows' negatives, then other rows' positives
        pairs = [(row, first + other) for row in range(5) for other in range(5) if other != row]
        pairs = [(row, column) for row, column in pairs if meeting.listed[row, column]]
        halves.append(torch.stack([square(*pair, 1) for pair in pairs]).mean())
    assert_same(total, own + 0.75 * (halves[0] + halves[1]) / 2, scores)


def test_a_constant_of_a_query_changes_nothing() -> None:
    draws, meeting = drawn(1)
    batch = batch_of(meeting, draws, scores_of(5, 10))
    assert batch.second is not None
    moved = TrainingBatch(**{**vars(batch), "second": batch.second + torch.arange(5.0)[:, None]})
    loss = function_of("loss", {"name": "in_batch_margin_mse"})
    assert float(loss(moved).detach()) == pytest.approx(float(loss(batch).detach()), rel=1e-4)
    nothing = TrainingBatch(**{**vars(batch), "second": torch.full((5, 10), torch.nan)})
    assert float(loss(nothing).detach()) == 0


def test_own_passages_are_not_the_second_teachers() -> None:
    draws, meeting = drawn(3)
    batch = batch_of(meeting, draws, scores_of(5, 10))
    assert batch.second is not None
    own = batch.own_negatives()
    assert own.sum() == 5 and (batch.origin == Origin.SHARED).any()
    other = TrainingBatch(**{**vars(batch), "second": batch.second + 9 * own})
    loss = function_of("loss", {"name": "in_batch_margin_mse"})
    assert float(loss(other).detach()) == float(loss(batch).detach())


# --- plans ---


def plan_of(**labels: str) -> Plan:
    budget = {"train": {"steps": 5}}
    systems: dict[str, Any] = {name: {"preset": name, **budget} for name in ("cross_encoder", "colbert")}
    tried = {"preset": "tas_balanced", "from": "warm", "labels": {**SYSTEM["labels"], **labels}, **budget}
    others = {"bm25": {"preset": "bm25"}, "warm": {"preset": "bm25neg", **budget}}
    return Plan(load({"collection": {"format": "pydocs"}, "systems": {"tried": tried, **others, **systems}}))


def test_the_plan_gives_both_teachers_and_the_clusters() -> None:
    plan = plan_of()
    (stage,) = [stage for stage in plan.of("dual_encoder") if stage.label == "tried"]
    assert stage.parents["teacher"].kind == "pair_scores" and stage.parents["teacher"].label == "cross_encoder"
    assert stage.parents["late_teacher"].label == "colbert"
    assert stage.parents["clusters"].kind == "clusters"


@pytest.mark.parametrize("wrong", ["cross_encoder", "nowhere"])
def test_the_second_teacher_must_be_a_late_interaction(wrong: str) -> None:
    with pytest.raises(HardnegError) as raised:
        plan_of(in_batch=wrong)
    assert "systems.tried.labels.in_batch" in str(raised.value) and wrong in str(raised.value)
