"""CCR: the regulariser's value, gradient and limits, the sieve's rule, and the recipe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from batches import assert_same, chosen, in_batch, loss_of, scores_of

from hardneg.config import load
from hardneg.methods.axes import function_of
from hardneg.methods.draws import Ranked


def test_the_term_is_the_mean_log_probability() -> None:
    scores, masked = scores_of(4, 8), ((0, 2), (3, 5))
    terms = []
    for row in range(4):
        met = scores[row, [column for column in range(8) if (row, column) not in masked]]
        terms.append((met.exp() / met.exp().sum()).log().mean())
    assert_same(loss_of(in_batch(scores, masked), "ccr"), torch.stack(terms).mean(), scores)


def test_uniform_predictions_have_minus_log_n_and_nothing_has_more() -> None:
    assert loss_of(in_batch(torch.zeros(4, 8)), "ccr").item() == pytest.approx(-math.log(8))
    for spread in (0.5, 2.0, 8.0):
        assert loss_of(in_batch(scores_of(4, 8, spread=spread)), "ccr").item() < -math.log(8)


def test_with_softmax_beta_is_its_weight_and_beta_0_is_softmax() -> None:
    scores = scores_of(4, 8)
    for beta in (0.0, 0.3):
        logs = scores.log_softmax(1)
        whole = loss_of(in_batch(scores), "softmax") + beta * loss_of(in_batch(scores), "ccr")
        assert_same(whole, -logs[:, :4].diagonal().mean() + beta * logs.mean(), scores)


def sieved(query: np.ndarray, score: np.ndarray) -> np.ndarray:
    rank = np.arange(1, len(query) + 1)
    kept: np.ndarray = function_of("filter", chosen("filter", "sieve"))(
        Ranked(query, rank, rank, score, np.full_like(score, np.nan))
    )
    return kept


def test_what_has_more_than_the_mean_log_probability_is_dropped() -> None:
    rng = np.random.default_rng(2)
    query = np.repeat([3, 7, 8], [5, 9, 1])
    score = rng.normal(50, 4, len(query)).astype(np.float32)
    kept = sieved(query, score)
    for asked in (3, 7, 8):
        own = score[query == asked].astype(np.float64)
        logs = np.log(np.exp(own - own.max()) / np.exp(own - own.max()).sum())
        assert kept[query == asked].tolist() == (logs <= logs.mean() + 1e-9).tolist()
        assert kept[query == asked].any()
    assert sieved(query[:0], score[:0]).shape == (0,)


def test_the_recipe_mines_the_confident_model_and_goes_on_from_it() -> None:
    train = {"steps": 5}
    systems = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": train},
        "ccr": {"preset": "ccr", "from": "warm", "train": train},
    }
    loaded = load({"collection": {"format": "pydocs"}, "systems": systems}).systems
    first, last = loaded["ccr.confident"], loaded["ccr"]
    assert [(loss.name, loss.weight) for loss in first.loss] == [("softmax", 1), ("ccr", 0.001)]
    assert (first.from_, last.from_, [answer.name for answer in last.filter]) == ("warm", "ccr.confident", ["sieve"])
    assert last.source[0].mined_system(last.from_) == "ccr.confident"
