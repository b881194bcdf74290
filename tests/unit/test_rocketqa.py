"""RocketQA: what its reader is sure of, the terms of a denominator, the recipe; and a reranker that judges alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from batches import assert_same, in_batch, lists, loss_of, scores_of
from made import JUDGED, PASSAGES, POSITIVE, QUERIES, TRAIN, training_settings

from hardneg.config import load
from hardneg.methods.axes import answers, function_of
from hardneg.methods.draws import PairScores
from hardneg.methods.lists import MinedLists
from hardneg.methods.published import preset
from hardneg.planning.plan import Plan
from hardneg.training.draws import Draws

STEPS: dict[str, Any] = preset("rocketqa")["steps"]
SURE, UNSURE = np.log(9), 0.0  # logarithms of the odds of .9 and .5


def step_answers(step: str, **more: Any) -> dict[str, Any]:
    """A step's answers, on ten candidates."""
    given = {key: STEPS[step][key] for key in ("sampler", "loss", "batch")}
    return {**given, "sampler": {**given["sampler"], "k": 10}, "source": "run", **more}


def candidates() -> MinedLists:
    found = [p for p in range(PASSAGES) if p >= 25]
    return MinedLists(np.repeat(np.arange(QUERIES), len(found)), np.tile(found, QUERIES), QUERIES)


def reader(scores: np.ndarray) -> PairScores:
    """The reader's scores of the candidates; the judged pairs score 5."""
    query, passage = np.mgrid[:QUERIES, :PASSAGES]
    return PairScores(query.ravel(), passage.ravel(), scores.ravel().astype(np.float32), PASSAGES)


def test_a_denominator_has_all_positives_and_all_negatives_of_the_batch() -> None:
    """2B terms a query: B positives and one negative a row, masked where judged relevant."""
    draws = Draws(
        training_settings(**step_answers("crossbatch"), train={**TRAIN, "batch_size": 6}), JUDGED, [candidates()]
    )
    meeting = draws.at(0)
    assert meeting.listed.shape == (6, 12) and meeting.met.shape == (6, 12)
    scores = scores_of(6, 12)
    by_hand = -(scores.log_softmax(1).diagonal()).mean()
    assert_same(loss_of(in_batch(scores), "softmax"), by_hand, scores)


def test_the_last_step_learns_the_readers_sure_labels() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 3, (QUERIES, PASSAGES))
    labels = sure_labels(reader(scores))
    draws = Draws(
        training_settings(**step_answers("augmented"), train={**TRAIN, "batch_size": 8}),
        JUDGED,
        [candidates()],
        teacher=labels,
    )
    seen = {"positive": 0, "negative": 0, "unsure": 0}
    for step in range(10):
        meeting = draws.at(step)
        for i, j in np.ndindex(*meeting.listed.shape):
            query, passage = int(meeting.rows[i]), int(meeting.passages[j])
            if (query, passage) in POSITIVE:
                continue
            score = scores[query, passage]
            if score > SURE:
                assert meeting.grades[i, j] == 1 and meeting.listed[i, j]
                seen["positive"] += 1
            elif score < -SURE:
                assert meeting.grades[i, j] == 0 and meeting.listed[i, j]
                seen["negative"] += 1
            else:
                assert not meeting.listed[i, j]
                seen["unsure"] += 1
        relevant = (meeting.grades * meeting.listed > 0).sum(1)
        assert ((meeting.judged > 0).sum(1) >= relevant).all()
    assert min(seen.values()) > 100


def sure_labels(scored: PairScores) -> Any:
    settings = {key: value for key, value in STEPS["augmented"]["labels"].items() if key != "system"}
    return function_of("labels", settings)(scored)


def test_unknown_pairs_stay_as_they_were_judged() -> None:
    nothing = PairScores(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32), PASSAGES)
    settings = training_settings(**step_answers("augmented"), train={**TRAIN, "batch_size": 8})
    plain = Draws({**settings, "labels": {"name": "judgements"}}, JUDGED, [candidates()]).at(3)
    taught = Draws(settings, JUDGED, [candidates()], teacher=sure_labels(nothing)).at(3)
    for name in ("grades", "listed"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(taught, name))


def test_pointwise_is_the_cross_entropy_of_each_passage() -> None:
    scores = scores_of(3, 5)
    batch = lists(scores)
    by_hand = []
    for i, j in np.ndindex(3, 5):
        share = scores[i, j].sigmoid()
        by_hand.append(-(share if j == 0 else 1 - share).log())
    assert_same(loss_of(batch, "pointwise"), torch.stack(by_hand).mean(), scores)
    masked = in_batch(scores_of(2, 4), ((0, 1), (1, 3)))
    assert float(loss_of(masked, "pointwise").detach()) == pytest.approx(
        float(
            torch.nn.functional.binary_cross_entropy_with_logits(
                masked.scores[masked.listed], (masked.grades[masked.listed] > 0).double()
            ).detach()
        )
    )


def test_the_recipe_is_four_systems_each_on_what_the_last_one_found() -> None:
    budget = {"train": {"steps": 5}}
    systems = {"bm25": {"preset": "bm25"}, "rocket": {"preset": "rocketqa", **budget}}
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": systems}))
    trained = {stage.label: stage for stage in plan.of("dual_encoder", "cross_encoder")}
    assert {"rocket.crossbatch", "rocket.reader", "rocket.denoised", "rocket"} <= trained.keys()
    filtered = trained["rocket.denoised"].parents["negatives"]
    assert filtered.settings["filter"][0]["name"] == "teacher" and filtered.parents["run"].label == "rocket.crossbatch"
    assert any(parent.kind == "pair_scores" and parent.label == "rocket.reader" for parent in filtered.parents.values())
    assert trained["rocket"].parents["teacher"].label == "rocket.reader"
    assert trained["rocket"].parents["init"].label == "rocket.denoised"


def test_the_reranker_reorders_bm25() -> None:
    systems = {"bm25": {"preset": "bm25"}, "rerank": {"preset": "rerank", "train": {"steps": 5}}}
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": systems}))
    (reordered,) = [stage for stage in plan.of("rerank") if stage.label == "rerank"]
    assert reordered.parents["run"].label == "bm25" and reordered.parents["run"].settings["depth"] == 1000


def test_no_candidate_is_both_relevant_and_not() -> None:
    with pytest.raises(ValueError, match="cannot be both"):
        answers("labels")["pseudo"].model_validate(
            {"name": "pseudo", "system": "reader", "positive": 0.1, "negative": 0.2}
        )
