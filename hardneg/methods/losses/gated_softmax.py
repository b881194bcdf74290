"""Softmax over the pairs that are held to be rightly matched (NPC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class GatedSoftmax(Weighted):
    """Softmax NCE of the positives that are not flagged as noise; a flagged one counts 0 in the mean (NPC)."""

    needs: ClassVar[frozenset[str]] = frozenset({"negatives", "clean"})
    name: Literal["gated_softmax"] = "gated_softmax"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """Mean over positives of y * -log( e^s+ / (e^s+ + sum over the negatives of e^s-) ), y 1 if clean and 0 if not.

    Args:
        batch: scores float32 [B, C] and `clean` bool [B, C].

    Returns:
        float32 [].
    """
    from hardneg.methods.losses.softmax import negative_log_shares

    assert batch.clean is not None
    shares, there = negative_log_shares(batch)
    clean = batch.clean.gather(1, batch.relevant()[0])
    return (shares * (there & clean)).sum() / there.sum().clamp_min(1)
