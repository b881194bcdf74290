"""Uniformly from the best candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np

    from hardneg.methods.draws import Drawn, Offer


class UniformSampler(Drawing):
    """`count` passages, uniformly and without repetition, from the first `k` candidates."""

    name: Literal["uniform"] = "uniform"
    k: int = Field(200, ge=1, description="how many of the best candidates are drawn from")
    count: int = Field(1, ge=1, description="negatives a query and step")

    def reach(self) -> tuple[str, int]:
        """The first k."""
        return "k", self.k

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(offer: Offer, rng: np.random.Generator, *, k: int, count: int, positives: str) -> Drawn:
    """`count` of the first `k`, without repetition, all subsets alike."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives

    column = offer.one_positive(rng) if positives == "one" else None
    available = offer.candidates.available(k)
    if count == 1:
        ranks = (rng.random(len(available)) * available).astype(np.int64)[:, None]
    else:
        ranks = np.zeros((len(available), count), np.int64)
        for row, size in enumerate(available):
            drawn = rng.choice(size, min(count, size), replace=False) if size else np.zeros(0, np.int64)
            ranks[row, : len(drawn)] = drawn
    there = np.arange(count) < available[:, None]
    return with_positives(offer, column, take(offer.candidates, ranks, there), positives)
