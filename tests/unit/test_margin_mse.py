"""MarginMSE: the student's margins against the teacher's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardneg.methods.axes import function_of
from hardneg.methods.batch import Origin, TrainingBatch

ROWS, COLUMNS = 4, 6


def batch(scores: torch.Tensor, teacher: torch.Tensor) -> TrainingBatch:
    """Each row's own positive is column 0; column 5 is not listed."""
    grades = torch.zeros(ROWS, COLUMNS, dtype=torch.int64)
    grades[:, 0] = 1
    listed = torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    listed[:, 5] = False
    origin = torch.full((ROWS, COLUMNS), int(Origin.MINED), dtype=torch.int8)
    passages = torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS)
    return TrainingBatch(scores, grades, listed, origin, passages, grades[:, :1], None, teacher)


def loss(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = function_of("loss", {"name": "margin_mse", "weight": 1.0})(batch(scores, teacher))
    return found


@pytest.fixture
def scored() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    return tuple(torch.from_numpy(rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)) for _ in range(2))  # type: ignore[return-value]


def test_it_is_the_mean_squared_difference_of_margins(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    s, t = (values.numpy().astype(np.float64) for values in scored)
    by_hand = [
        ((s[row, 0] - s[row, column]) - (t[row, 0] - t[row, column])) ** 2
        for row in range(ROWS)
        for column in range(1, 5)
    ]
    assert float(loss(*scored)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_a_constant_added_to_a_querys_scores_changes_nothing(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, teacher = scored
    shift = torch.tensor([[3.0], [-2.0], [0.5], [9.0]])
    assert float(loss(scores, teacher + shift)) == pytest.approx(float(loss(scores, teacher)), rel=1e-5)
    assert float(loss(scores + shift, teacher)) == pytest.approx(float(loss(scores, teacher)), rel=1e-5)
    assert float(loss(teacher + shift, teacher)) == pytest.approx(0, abs=1e-9)


def test_pairs_that_the_teacher_did_not_score_are_left_out(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, teacher = scored
    teacher = teacher.clone()
    teacher[0, 0], teacher[1, 3] = torch.nan, torch.nan
    scores = scores.clone().requires_grad_()
    torch.autograd.backward(loss(scores, teacher))
    assert scores.grad is not None and bool(scores.grad.isfinite().all())
    assert bool((scores.grad[0] == 0).all()) and float(scores.grad[1, 3]) == 0 and float(scores.grad[1, 2]) != 0
    assert float(loss(scores, torch.full_like(teacher, torch.nan))) == 0
