"""Positive-aware mining: a candidate stays below 95% of the positive's score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardneg.config import load
from hardneg.methods.axes import answers, function_of
from hardneg.methods.draws import Ranked
from hardneg.methods.published import preset

SYSTEM: dict[str, Any] = preset("positive_aware")["system"]


def kept(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    margin = answers("filter")["margin"].model_validate(SYSTEM["filter"]).model_dump()
    count = len(score)
    none = np.zeros(count, np.int64)
    found = Ranked(none, np.arange(count), np.arange(1, count + 1), score, positive)
    stays: np.ndarray = function_of("filter", margin)(found)
    return stays


def test_it_is_the_rule_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.uniform(-5, 20, 400).astype(np.float32), rng.uniform(5, 20, 400).astype(np.float32)
    assert kept(score, positive).tolist() == [bool(s <= 0.95 * p) for s, p in zip(score, positive, strict=True)]


def test_below_means_below_also_for_negative_scores() -> None:
    positive = np.full(3, -10, np.float32)
    assert kept(np.array([-10.6, -10.4, -9.6], np.float32), positive).tolist() == [True, False, False]


def test_a_positive_without_a_score_throws_nothing_out() -> None:
    assert kept(np.array([3.0, 9.0], np.float32), np.full(2, np.nan, np.float32)).all()


def test_it_is_star_but_for_the_filter() -> None:
    star: dict[str, Any] = preset("star")["system"]
    assert {key: value for key, value in SYSTEM.items() if key != "filter"} == star
    train = {"steps": 5}
    systems = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": train},
        "tried": {"preset": "positive_aware", "from": "warm", "train": train},
    }
    (chosen,) = load({"collection": {"format": "pydocs"}, "systems": systems}).systems["tried"].filter
    assert chosen.model_dump()["relative"] == pytest.approx(0.05)
