"""The index, searched at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardneg.methods.draws import Candidates, Material, Positions, Scores, Source


class LiveSource(Sourcing):
    """The top `depth` of the index under the query encoder of this very step (ADORE)."""

    needs: ClassVar[frozenset[str]] = frozenset({"every_step", "fixed_passages"})
    provides: ClassVar[frozenset[str]] = frozenset(
        {"negatives", "candidates", "ranking", "scores", "positive_score", "live"}
    )
    name: Literal["live"] = "live"
    depth: int = Field(200, ge=1, description="how many passages are retrieved a query and step (the paper's K)")


class Retrieved:
    """What the index returned for the queries of a step; judged passages stand where they were retrieved.

    Args:
        passages: int64 [B, depth], -1 beyond what was found.
        found: float32 [B, depth], their scores.
    """

    def __init__(self, passages: Positions, found: Scores) -> None:
        self._passages, self._found = passages, found

    def available(self, k: int | None) -> Positions:
        """See `Candidates`."""
        counts: Positions = (self._passages >= 0).sum(1)
        return counts if k is None else np.minimum(counts, k)

    def at(self, ranks: Positions) -> Positions:
        """See `Candidates`."""
        return np.take_along_axis(self._passages, ranks, 1)

    def scores(self, ranks: Positions) -> Scores:
        """See `Candidates`."""
        return np.take_along_axis(self._found, ranks, 1)


class LiveIndex:
    """An index that is searched with the vectors of every step."""

    ranked = True

    def __init__(self, search: Callable[..., tuple[Positions, Scores]], depth: int) -> None:
        self._search, self._depth = search, depth

    def of(self, queries: Positions, vectors: object) -> Candidates:
        """See `Source`."""
        return Retrieved(*self._search(vectors, self._depth))


def candidates(material: Material, *, depth: int) -> Source:
    """What the index ranks on top for these very vectors (Zhan et al., section 6.2.1)."""
    assert material.search is not None
    return LiveIndex(material.search, depth)
