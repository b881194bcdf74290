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
    assert batch.teacher is not None
    columns, better = batch.better()
    scores, teacher = batch.scores.float(), batch.teacher.float()
    scored = ~teacher.isnan()
    pairs = better & scored.unsqueeze(1) & scored.gather(1, columns).unsqueeze(2)
    teacher = teacher.nan_to_num()
    margins = (values.gather(1, columns).unsqueeze(2) - values.unsqueeze(1) for values in (scores, teacher))
    student, taught = margins
    return ((student - taught).square() * pairs).sum() / pairs.sum().clamp_min(1)
