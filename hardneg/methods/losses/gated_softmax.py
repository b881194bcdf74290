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
    import torch

    assert batch.clean is not None
    columns, better = batch.better()
    scores = batch.scores.float()
    own = scores.gather(1, columns)
    negatives = scores.unsqueeze(1).masked_fill(~better, -torch.inf)
    shares = torch.logsumexp(torch.cat((own.unsqueeze(2), negatives), 2), 2) - own
    there = batch.relevant()[1] > 0
    return (shares * (there & batch.clean.gather(1, columns))).sum() / there.sum().clamp_min(1)
