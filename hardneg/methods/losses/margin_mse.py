"""Margins as the teacher's (MarginMSE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class MarginMse(Weighted):
    """Mean squared difference between the student's margins and the teacher's (Hofstaetter et al. 2020).

    Scores are compared on the student's own scale, so a temperature below 1 makes student margins larger. Pairs that
    the teacher did not score are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives", "teacher"})
    name: Literal["margin_mse"] = "margin_mse"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over pairs of ((s+ - s-) - (t+ - t-))^2, with s the student's scores and t the teacher's; 0 without a pair.

    A pair is a positive and a listed passage of a lower grade that the teacher scored both.
    """
    from hardneg.methods.margins import margin_errors

    assert batch.teacher is not None
    squares, pairs = margin_errors(batch, batch.teacher)
    return (squares * pairs).sum() / pairs.sum().clamp_min(1)
