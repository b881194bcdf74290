"""Evenly over the teacher's margins (TAS-Balanced)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Drawn, Offer, Positions


class MarginBins(Drawing):
    """One pair of a positive and a candidate, drawn evenly over the teacher's margins (TAS-Balanced).

    Pairs of a query are put into `bins` of equal width by the score of the positive less that of the candidate, both
    the teacher's.
    A bin is drawn uniformly among those that hold a pair, then a pair of it. Pairs without a teacher's score are left
    out. If all margins are equal there is one bin.
    """

    needs: ClassVar[frozenset[str]] = Drawing.needs | {"ranking", "scored_pairs", "one_source"}
    name: Literal["margin_bins"] = "margin_bins"
    k: int = Field(200, ge=1, description="how many of the best candidates are drawn from")
    bins: int = Field(10, ge=1, description="of equal width, from the least to the greatest margin of a query")

    def reach(self) -> tuple[str, int]:
        """The first k."""
        return "k", self.k


def draw(offer: Offer, rng: np.random.Generator, *, k: int, bins: int, positives: str) -> Drawn:
    """A bin, then a pair of it: one positive and one negative a query."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives

    assert offer.teacher is not None
    available = offer.candidates.available(k)
    width = int(available.max(initial=0))
    ranks = np.broadcast_to(np.arange(width), (len(available), width))
    passages = take(offer.candidates, ranks, ranks < available[:, None])
    margins = _margins(offer, passages)
    column, rank = np.zeros(len(available), np.int64), np.full((len(available), 1), -1, np.int64)
    uniform = rng.random((len(available), 2))
    for row, found in enumerate(margins):
        pairs = np.flatnonzero(~np.isnan(found.ravel()))
        if len(pairs):
            bin_of = binned(found.ravel()[pairs], bins)
            filled = np.unique(bin_of)
            inside = pairs[bin_of == filled[int(uniform[row, 0] * len(filled))]]
            column[row], rank[row, 0] = np.divmod(inside[int(uniform[row, 1] * len(inside))], width)
    negatives = take(offer.candidates, np.maximum(rank, 0), rank >= 0)
    return with_positives(offer, column if positives == "one" else None, negatives, positives)


def binned(margins: npt.NDArray[np.floating], bins: int) -> Positions:
    """The bin of each margin, from 0, of `bins` of equal width between the least and the greatest: int64 [n]."""
    import numpy as np

    low, high = float(margins.min()), float(margins.max())
    if low == high:
        return np.zeros(len(margins), np.int64)
    return np.minimum((np.asarray(margins, np.float64) - low) / (high - low) * bins, bins - 1).astype(np.int64)


def _margins(offer: Offer, passages: Positions) -> npt.NDArray[np.float32]:
    """The teacher's score of each positive less that of each candidate: [B, P, L]; NaN where either is missing."""
    import numpy as np

    assert offer.teacher is not None
    queries = offer.queries[:, None]
    high, low = (
        np.where(those >= 0, offer.teacher(queries, np.maximum(those, 0)), np.float32(np.nan))
        for those in (offer.positives, passages)
    )
    return high[:, :, None] - low[:, None, :]
