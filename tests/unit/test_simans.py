"""SimANS: the distribution over score gaps (methods: log p is quadratic, its peak, its variance)."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import offer_of

from hardneg.methods.axes import function_of
from hardneg.methods.draws import Drawn
from hardneg.methods.samplers.simans import log_weights

GAPS = np.linspace(-6, 6, 121)


def drawn(gaps: list[float], queries: int, count: int = 1, **settings: object) -> Drawn:
    """Draws from candidates that score so much above the positive, which scores -7."""
    chosen = {"name": "simans", "k": len(gaps), "count": count, "a": 0.5, "b": 0.0, "peak": "paper", **settings}
    offer = offer_of(
        lists=[list(range(100, 100 + len(gaps)))] * queries,
        positives=[[3]] * queries,
        scores=[[gap - 7 for gap in gaps]] * queries,
        positive_scores=[[-7.0]] * queries,
    )
    made: Drawn = function_of("sampler", chosen)(offer, np.random.default_rng(5), positives="one")
    return made


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.0), (0.5, 1.0), (2.0, -1.5)])
def test_the_logarithm_of_the_weight_has_second_difference_minus_2a_and_its_peak_at_b(a: float, b: float) -> None:
    logs = log_weights(GAPS, a, b)
    step = GAPS[1] - GAPS[0]
    assert np.diff(logs, 2) / step**2 == pytest.approx(-2 * a)
    assert GAPS[logs.argmax()] == pytest.approx(b)


def test_draws_are_in_proportion_to_the_weights() -> None:
    gaps, queries = [-2.0, -1.0, 0.0, 1.0, 2.0], 40_000
    found = np.bincount(drawn(gaps, queries, a=0.5, b=0.5).negatives[:, 0] - 100, minlength=5) / queries
    weights = np.exp(-0.5 * (np.array(gaps) - 0.5) ** 2)
    assert found == pytest.approx(weights / weights.sum(), abs=0.01)


@pytest.mark.parametrize(("peak", "best"), [("paper", 1.0), ("code", -1.0)])
def test_the_papers_and_the_codes_sign_of_b_are_named_apart(peak: str, best: float) -> None:
    gaps = [-1.0, 0.0, 1.0]
    found = np.bincount(drawn(gaps, 20_000, a=2.0, b=1.0, peak=peak).negatives[:, 0] - 100, minlength=3)
    assert gaps[int(found.argmax())] == best


def test_with_a_of_0_draws_are_uniform_and_twice_a_halves_the_variance() -> None:
    gaps = list(np.linspace(-8, 8, 321))
    flat = drawn(gaps, 20_000, a=0.0).negatives[:, 0] - 100
    counts = np.bincount(flat, minlength=len(gaps))
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 400  # chi-square with 320 degrees of freedom
    spread = [np.array(gaps)[drawn(gaps, 40_000, a=a).negatives[:, 0] - 100].var() for a in (0.5, 1.0)]
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.06)


def test_nothing_is_drawn_twice_and_missing_candidates_are_none() -> None:
    made = drawn([0.0, 1.0, 2.0], 500, count=5)
    assert (np.sort(made.negatives, axis=1) == [-1, -1, 100, 101, 102]).all()
    assert (made.positives == 3).all()


def test_a_positive_without_a_score_draws_uniformly() -> None:
    offer = offer_of([[5, 6]] * 9000, [[3]] * 9000, [[100.0, -100.0]] * 9000, [[float("nan")]] * 9000)
    chosen = {"name": "simans", "k": 2, "count": 1, "a": 0.5, "b": 0.0, "peak": "paper"}
    made = function_of("sampler", chosen)(offer, np.random.default_rng(1), positives="one")
    assert (made.negatives == 5).mean() == pytest.approx(0.5, abs=0.02)
