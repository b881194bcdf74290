"""Batches as losses see them, written by hand, and gradients to compare."""

from __future__ import annotations

from typing import Any

import torch

from hardneg.methods.axes import answers, function_of
from hardneg.methods.batch import Origin, TrainingBatch


def scores_of(rows: int, columns: int, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    """Random scores float64 [rows, columns] with gradients."""
    random = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(rows, columns, generator=random, dtype=torch.float64)).requires_grad_()


def in_batch(scores: torch.Tensor, masked: tuple[tuple[int, int], ...] = (), **more: Any) -> TrainingBatch:
    """B rows against B positives and the rows' negatives, row by row; column i is the positive of row i.

    Args:
        scores: [B, B + B h].
        masked: (row, column) pairs that the loss may not compare.
        more: further fields.
    """
    rows, columns = scores.shape
    own, hard = torch.eye(rows, columns, dtype=torch.bool), (columns - rows) // rows
    mine = torch.zeros(rows, columns, dtype=torch.bool)
    for row in range(rows):
        mine[row, rows + row * hard : rows + (row + 1) * hard] = True
    origin = torch.full((rows, columns), int(Origin.SHARED), dtype=torch.int8)
    origin[:, :rows] = Origin.IN_BATCH
    origin[mine], origin[own] = Origin.MINED, Origin.OWN
    listed = torch.ones(rows, columns, dtype=torch.bool)
    for row, column in masked:
        listed[row, column] = False
    grades = own.long()
    return TrainingBatch(scores, grades, listed, origin, torch.arange(columns), grades[:, :1].clamp_min(1), **more)


def lists(scores: torch.Tensor, **more: Any) -> TrainingBatch:
    """B rows with lists of their own [B, C], column 0 the positive."""
    grades = torch.zeros(scores.shape, dtype=torch.int64)
    grades[:, 0] = 1
    origin = torch.where(grades > 0, int(Origin.OWN), int(Origin.MINED)).to(torch.int8)
    passages = torch.arange(scores.numel()).view(scores.shape)
    return TrainingBatch(scores, grades, torch.ones_like(grades).bool(), origin, passages, grades[:, :1], **more)


def chosen(key: str, name: str, **settings: Any) -> dict[str, Any]:
    """A validated answer as a stage's settings have it."""
    return answers(key)[name].model_validate({"name": name, **settings}).model_dump(exclude={"positives"})


def loss_of(batch: TrainingBatch, name: str, **settings: Any) -> torch.Tensor:
    """The loss that is registered under a name, with its defaults."""
    found: torch.Tensor = function_of("loss", chosen("loss", name, **settings))(batch)
    return found


def assert_same(ours: torch.Tensor, by_hand: torch.Tensor, *leaves: torch.Tensor) -> None:
    """The same value and the same gradients."""
    torch.testing.assert_close(ours.double(), by_hand.double(), rtol=1e-5, atol=1e-6)
    mine = torch.autograd.grad(ours, leaves, retain_graph=True, allow_unused=True)
    expected = torch.autograd.grad(by_hand, leaves, allow_unused=True)
    for leaf, found, wanted in zip(leaves, mine, expected, strict=True):
        pair = [torch.zeros_like(leaf) if gradient is None else gradient for gradient in (found, wanted)]
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-6)
