"""RANCE: the distribution over ranks against its steps, what is drawn, and the adaptive hinge."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from batches import assert_same, chosen, lists, loss_of, scores_of
from drawing import offer_of
from scipy.stats import chisquare

from hardneg.methods.axes import answers, function_of
from hardneg.methods.draws import Drawn
from hardneg.methods.samplers.rank_distribution import probabilities


def by_hand(relevant: list[float], k: int) -> np.ndarray:
    """The steps of the authors' code, one after another."""
    shares = [relevant[r] if r < len(relevant) else 0.0 for r in range(k)]
    gain = [(1 - share) / math.log(r + 2) for r, share in enumerate(shares)]
    smooth = np.array([sum(gain[i : i + 9]) / 9 for i in range(k - 8)])
    x = np.arange(len(smooth)) / len(smooth)
    powers = np.stack([x**power for power in range(5)], 1)
    fitted = powers @ np.linalg.lstsq(powers, smooth, rcond=None)[0]
    padded = [fitted[0]] * 4 + fitted.tolist() + [fitted[-1]] * 4
    weights = np.maximum(np.array(padded) - smooth.min(), 0)
    return np.asarray(weights / weights.sum())


RISKY = [0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05]


@pytest.mark.parametrize("relevant", [[], RISKY])
@pytest.mark.parametrize("k", [13, 40, 200])
def test_the_distribution_is_fitted_step_by_step(relevant: list[float], k: int) -> None:
    found = probabilities(tuple(relevant), k)
    assert found == pytest.approx(by_hand(relevant, k), abs=1e-9)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()


def test_ranks_that_hold_relevant_passages_are_drawn_less() -> None:
    plain, careful = probabilities((), 200), probabilities(tuple(RISKY), 200)
    assert (careful[:5] < plain[:5]).all() and plain[0] == plain.max()


def drawn(k: int, queries: int, length: int, count: int = 1) -> Drawn:
    offer = offer_of([list(range(100, 100 + length))] * queries, [[3]] * queries)
    settings = chosen("sampler", "rank_distribution", k=k, count=count, relevant=RISKY)
    made: Drawn = function_of("sampler", settings)(offer, np.random.default_rng(5), positives="one")
    return made


def test_draws_reproduce_it() -> None:
    queries, expected = 100_000, by_hand(RISKY, 40)
    counts = np.bincount(drawn(40, queries, 40).negatives[:, 0] - 100, minlength=40)
    possible = expected > 0
    assert not counts[~possible].any()
    assert chisquare(counts[possible], queries * expected[possible]).pvalue > 0.001


def test_short_lists_and_repetition() -> None:
    made = drawn(40, 300, 3, count=5).negatives
    assert (np.sort(made, axis=1)[:, :2] == -1).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in made)


def test_the_hinge_is_a_plain_loop_and_zero_where_the_lead_is_enough() -> None:
    scores, teacher = scores_of(3, 5, spread=0.5), scores_of(3, 5, seed=1, spread=4).detach()
    terms = []
    for row in range(3):
        for j in range(1, 5):
            gap = teacher[row, 0] - teacher[row, j]
            terms.append((1 - 0.1 * gap - (scores[row, 0] - scores[row, j])).clamp_min(0))
    ours = loss_of(lists(scores, teacher=teacher), "hinge", margin=1.0, scale=0.1)
    assert_same(ours, torch.stack(terms).mean(), scores)
    for lead, free in ((0.81, True), (0.79, False)):  # the teacher's gap is 2, so that .8 is asked for
        pair = lists(torch.tensor([[lead, 0.0]]), teacher=torch.tensor([[5.0, 3.0]]))
        assert (loss_of(pair, "hinge", scale=0.1).item() == 0) == free


def test_a_scale_needs_a_teacher_and_unscored_pairs_are_left_out() -> None:
    hinge = answers("loss")["hinge"]
    with_scale, without = (hinge.model_validate({"scale": scale, "name": "hinge"}) for scale in (0.1, 0))
    assert "teacher" in with_scale.needed() and "teacher" not in without.needed()
    scores, teacher = scores_of(2, 4), torch.ones(2, 4)
    teacher[0, 0] = torch.nan
    gradient = torch.autograd.grad(loss_of(lists(scores, teacher=teacher), "hinge", margin=9, scale=0.1), scores)[0]
    assert not gradient[0].any() and gradient[1].all()
