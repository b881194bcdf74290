"""Margins to other rows' passages as a second teacher's (TAS-Balanced)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class InBatchMarginMse(Weighted):
    """Squared differences between the student's margins and the second teacher's, to what other rows brought.

    Half of it is the mean over other rows' negatives, half the mean over other rows' positives, as in the released code
    of TAS-Balanced (Hofstaetter et al. 2021). What is judged relevant to a query is not compared.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"in_batch", "second_teacher"})
    name: Literal["in_batch_margin_mse"] = "in_batch_margin_mse"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """(a + b) / 2, with a and b the means of ((s+ - s-) - (t+ - t-))^2 over other rows' negatives and positives.

    s are the student's scores and t the second teacher's; a mean over no pair is 0.
    """
    from hardneg.methods.batch import Origin
    from hardneg.methods.margins import margin_errors

    assert batch.second is not None
    squares, pairs = margin_errors(batch, batch.second)

    def mean_over(origin: Origin) -> torch.Tensor:
        met = pairs & (batch.origin == origin).unsqueeze(1)
        return (squares * met).sum() / met.sum().clamp_min(1)

    return (mean_over(Origin.SHARED) + mean_over(Origin.IN_BATCH)) / 2
