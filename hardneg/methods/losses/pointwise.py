"""Cross-entropy of each passage alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class Pointwise(Weighted):
    """Whether each passage is relevant, one by one: scores become logarithms of odds (monoBERT)."""

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})
    name: Literal["pointwise"] = "pointwise"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over listed passages of -log sigmoid(s) where the grade is above 0, and -log(1 - sigmoid(s)) elsewhere."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    relevant = (batch.grades > 0).to(batch.scores.dtype)
    losses = binary_cross_entropy_with_logits(batch.scores, relevant, reduction="none")
    return (losses * batch.listed).sum() / batch.listed.sum().clamp_min(1)
