"""The whole collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Positions, Scores, Source


class RandomSource(Sourcing):
    """The whole collection; the sampler draws from it afresh at every step."""

    provides: ClassVar[frozenset[str]] = frozenset({"negatives", "candidates"})
    name: Literal["random"] = "random"


class WholeCollection:
    """Every passage is a candidate of every query, in no order, so that a depth means nothing.

    Args:
        passages: number of passages.
        queries: number of queries in the batch.
    """

    ranked = False

    def __init__(self, passages: int, queries: int = 0) -> None:
        self._passages, self._queries = passages, queries

    def of(self, queries: Positions, vectors: object) -> WholeCollection:
        """See `Source`."""
        return WholeCollection(self._passages, len(queries))

    def available(self, k: int | None) -> Positions:
        """All passages, whatever `k`."""
        return np.full(self._queries, self._passages, np.int64)

    def at(self, ranks: Positions) -> Positions:
        """The passage at a rank is the one at that position."""
        return ranks

    def scores(self, ranks: Positions) -> Scores:
        """Nothing was scored: NaN."""
        return np.full(ranks.shape, np.nan, np.float32)


def candidates(material: Material) -> Source:
    """Every passage of the collection."""
    return WholeCollection(material.passages)
