"""Listwise KL: zero for equal distributions, temperatures, and pairs that the teacher did not score."""

from __future__ import annotations

import pytest
import torch
from batches import assert_same, in_batch, lists, loss_of, scores_of
from scipy.stats import entropy


def kl(scores: torch.Tensor, teacher: torch.Tensor, **temperatures: float) -> torch.Tensor:
    return loss_of(lists(scores, teacher=teacher), "kl_list", **temperatures)


def test_it_is_the_kl_of_two_softmaxes() -> None:
    scores, teacher = scores_of(4, 6), scores_of(4, 6, seed=1).detach()
    shares = [(teacher / 0.25).softmax(1), (scores / 1.5).softmax(1)]
    by_hand = (shares[0] * (shares[0].log() - shares[1].log())).sum(1).mean()
    ours = kl(scores, teacher, teacher_temperature=0.25, student_temperature=1.5)
    assert_same(ours, by_hand, scores)
    theirs = entropy(shares[0].numpy(), shares[1].detach().numpy(), axis=1).mean()
    assert ours.item() == pytest.approx(theirs, rel=1e-5)


def test_equal_distributions_cost_nothing_and_do_not_move() -> None:
    scores = scores_of(3, 5)
    same = scores.detach() * 0.25 + torch.tensor([[3.0], [-1.0], [0.0]])  # a constant changes no softmax
    found = kl(scores, same)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(found, scores)[0].abs().max() < 1e-6


def test_teacher_scores_times_4_are_a_temperature_of_a_quarter() -> None:
    scores, teacher = scores_of(3, 5), scores_of(3, 5, seed=2).detach()
    quarter = kl(scores, teacher, teacher_temperature=0.25)
    assert kl(scores, 4 * teacher, teacher_temperature=1.0).item() == pytest.approx(quarter.item(), rel=1e-5)


def test_what_the_teacher_did_not_score_is_left_out() -> None:
    scores, teacher = scores_of(3, 5), scores_of(3, 5, seed=3).detach()
    teacher[0, 2] = teacher[1, :4] = torch.nan  # query 1 has one scored passage left, which says nothing
    found = kl(scores, teacher)
    gradient = torch.autograd.grad(found, scores)[0]
    assert gradient.isfinite().all() and gradient[0, 2] == 0 and not gradient[1].any() and gradient[2].all()
    kept = [0, 1, 3, 4]
    alone = [kl(scores[:1, kept], teacher[:1, kept]), kl(scores[2:], teacher[2:])]
    assert found.item() == pytest.approx((alone[0].item() + alone[1].item()) / 2, rel=1e-5)
    assert kl(scores, torch.full_like(teacher, torch.nan)).item() == 0


def test_masked_passages_of_a_batch_are_left_out() -> None:
    scores, teacher = scores_of(3, 6), scores_of(3, 6, seed=3).detach()
    found = loss_of(in_batch(scores, ((0, 2),), teacher=teacher), "kl_list")
    assert torch.autograd.grad(found, scores)[0][0, 2] == 0
