"""The negative cache: what is renewed when, and a gradient that is right on average."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from drawing import offer_of

from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.batch import Origin, TrainingBatch
from hardneg.methods.caching import NegativeCache
from hardneg.methods.draws import Material, Positions

PASSAGES, SIZE, DIM = 60, 12, 4


def cache(seed: int = 3) -> NegativeCache:
    made = function_of("source", {"name": "cache", "size": SIZE, "weight": 1.0})(
        Material(None, 5, PASSAGES, seed=seed, temperature=0.5)
    )
    assert isinstance(made, NegativeCache)
    made.start(lambda passages: vectors_of(passages, 0))
    return made


def vectors_of(passages: Positions, version: int) -> torch.Tensor:
    """A passage's vector in some state of the encoder."""
    rows = [np.random.default_rng([int(passage), version]).normal(size=DIM) for passage in passages]
    return torch.from_numpy(np.array(rows, np.float32))


def test_candidates_come_in_the_order_of_cached_scores_and_the_mass_is_over_the_whole_cache() -> None:
    made, asked = cache(), torch.from_numpy(np.random.default_rng(1).normal(size=(3, DIM)).astype(np.float32))
    offered = made.of(np.arange(3), asked)
    scores = asked.numpy() @ vectors_of(made.passages, 0).numpy().T / 0.5
    ranks = np.broadcast_to(np.arange(SIZE), (3, SIZE))
    assert np.allclose(offered.scores(ranks), -np.sort(-scores, axis=1), atol=1e-5)
    assert np.array_equal(offered.at(ranks), made.passages[np.argsort(-scores, axis=1)])
    assert offered.mass == pytest.approx(np.log(np.exp(scores.astype(np.float64)).sum(1)), rel=1e-5)


def test_a_step_renews_what_it_drew_and_replaces_the_oldest() -> None:
    made = cache()
    before = made.passages.copy()
    new = np.setdiff1d(np.arange(PASSAGES), before)
    oldest: list[int] = []
    for step in range(1, 6):
        drawn, joined = made.passages[[step, step + 2]].copy(), new[2 * step : 2 * step + 2]
        ages, passages = made.age.copy() + 1, made.passages.copy()
        ages[np.isin(passages, drawn)] = 0
        oldest = passages[np.argsort(-ages, kind="stable")[:2]].tolist()
        both = np.array([*drawn, *joined])
        encoded = dict(zip(both.tolist(), vectors_of(both, step).numpy(), strict=True))
        made.met(joined, drawn, encoded)
        changed = (made.passages != passages).sum()
        assert changed == 2 and not np.isin(oldest, made.passages).any() and np.isin(joined, made.passages).all()
        assert (made.age == 0).sum() == 4 <= 2 * 2
        slots = np.flatnonzero(np.isin(made.passages, [*drawn, *joined]))
        assert np.array_equal(made.vectors[slots], vectors_of(made.passages[slots], step).numpy())
        assert made.staleness > 0


def test_positives_that_are_cached_already_are_not_put_in_twice() -> None:
    made = cache()
    there = made.passages[:3].copy()
    made.met(there, there[:1], {int(p): np.ones(DIM, np.float32) for p in there})
    assert len(set(made.passages.tolist())) == SIZE


def test_the_estimate_of_the_gradient_is_right_on_average_for_a_fresh_cache() -> None:
    """Of every passage that may be drawn, weighted by how often it is: the full softmax's gradient."""
    logits = torch.tensor([0.3, -1.0, 2.0, 0.7, -0.2], dtype=torch.float64)
    own = torch.tensor(0.9, dtype=torch.float64)
    mass = torch.logsumexp(logits, 0)
    whole = torch.cat((own.view(1), logits)).requires_grad_()
    torch.autograd.backward(-torch.log_softmax(whole, 0)[0])
    loss = function_of("loss", {"name": "sampled_softmax", "weight": 1.0})
    expected, values = torch.zeros(6), []
    for drawn, chance in enumerate(torch.softmax(logits, 0)):
        scores = torch.stack((own, logits[drawn])).float().view(1, 2).requires_grad_()
        grades = torch.tensor([[1, 0]])
        origin = torch.tensor([[int(Origin.OWN), int(Origin.MINED)]], dtype=torch.int8)
        listed = torch.ones(1, 2, dtype=torch.bool)
        batch = TrainingBatch(scores, grades, listed, origin, torch.tensor([[0, 1]]), grades[:, :1], mass=mass.view(1))
        value = loss(batch)
        torch.autograd.backward(value)
        values.append(float(value.detach()))
        assert scores.grad is not None
        expected[0] += chance * scores.grad[0, 0]
        expected[1 + drawn] += chance * scores.grad[0, 1]
    assert whole.grad is not None
    assert torch.allclose(expected, whole.grad.float(), atol=1e-6)
    assert all(value == pytest.approx(float(-torch.log_softmax(whole, 0)[0].detach()), rel=1e-5) for value in values)


def test_the_sampler_draws_in_proportion_to_the_softmax() -> None:
    scores = [1.0, 0.0, -1.0, 3.0]
    offer = offer_of([[5, 6, 7, 8]] * 30_000, [[1]] * 30_000, [scores] * 30_000)
    draw = function_of("sampler", {"name": "softmax", "k": None, "count": 1, "tau": 2.0})
    drawn = draw(offer, np.random.default_rng(0), positives="one").negatives[:, 0] - 5
    weights = np.exp(np.array(scores) / 2)
    assert np.bincount(drawn, minlength=4) / 30_000 == pytest.approx(weights / weights.sum(), abs=0.01)


def test_what_a_checkpoint_keeps_goes_on_as_if_nothing_had_happened() -> None:
    one, other = cache(), cache(seed=4)
    other.load_state_dict({name: array.copy() for name, array in one.state_dict().items()})
    for step, (first, second) in enumerate(pairwise([10, 20, 30, 40])):
        for made in (one, other):
            drawn = made.passages[:2].copy()
            made.met(
                np.array([first, second]),
                drawn,
                {p: np.full(DIM, step + 1, np.float32) for p in [first, second, *drawn.tolist()]},
            )
    assert all(np.array_equal(array, other.state_dict()[name]) for name, array in one.state_dict().items())


def test_a_cache_larger_than_the_collection_is_refused() -> None:
    with pytest.raises(HardnegError, match="larger than the collection"):
        function_of("source", {"name": "cache", "size": 61, "weight": 1.0})(Material(None, 5, PASSAGES))
