"""The softmax over a cache, estimated from what was drawn of it (Negative Cache)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class SampledSoftmax(Weighted):
    """Softmax NCE over a whole cache, its gradient estimated from one negative drawn by the softmax (Negative Cache).

    The estimate is unbiased where the cached vectors are fresh and the sampler draws from the whole cache.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mass"})
    name: Literal["sampled_softmax"] = "sampled_softmax"


def loss(batch: TrainingBatch) -> torch.Tensor:
    """-log p+, p+ = e^s+ / (e^s+ + sum over the cache of e^z), with the gradient of (1 - p+) (s(q, d_J) - s(q, d+)).

    d_J was drawn in proportion to e^z, z being scores by the cached vectors. Of several drawn passages the mean counts.
    """
    import torch

    assert batch.mass is not None
    columns, better = batch.better()
    scores = batch.scores.float()
    own = scores.gather(1, columns)
    there = batch.relevant()[1] > 0
    mass = batch.mass.float().unsqueeze(1)
    nce = (torch.logaddexp(own, mass) - own).detach()
    drawn = (scores.unsqueeze(1) * better).sum(2) / better.sum(2).clamp_min(1)
    estimate = (1 - torch.exp(-nce)) * (drawn - own) * better.any(2)
    return ((nce + estimate - estimate.detach()) * there).sum() / there.sum().clamp_min(1)
