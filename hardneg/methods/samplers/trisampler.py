"""Inside the triangle of query, positive and negative (TriSampler)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Drawn, Offer, Positions

    Numbers = npt.NDArray[np.float64]


class TriSampler(Drawing):
    """`count` candidates of a region that query and positive bound, drawn in two stages (TriSampler).

    The region: a candidate's angle to the query differs from the positive's by at most `angle`. The first stage draws
    `pool` candidates of it, in proportion to exp(-a gap^2), with gap the candidate's score less the positive's. The
    second draws `count` of these in proportion to what `nearer` says; a candidate of no weight is not drawn. Where no
    candidate has a weight, the first stage's order counts. Scores and angles are of the mined system's vectors.
    """

    needs: ClassVar[frozenset[str]] = Drawing.needs | {"ranking", "mined_vectors", "one_source"}
    name: Literal["trisampler"] = "trisampler"
    k: int = Field(100, ge=1, description="how many of the best candidates are drawn from")
    count: int = Field(1, ge=1, description="negatives a query and step")
    pool: int = Field(20, ge=1, description="how many the first stage draws")
    angle: float = Field(60.0, gt=0, le=180, description="degrees; 180 leaves nothing out")
    a: float = Field(0.25, ge=0, description="how sharply the first stage's weight falls; 0 draws uniformly")
    nearer: Literal["positive", "query"] = Field(
        "positive",
        description="the second stage's weight: by how much a candidate scores higher with the positive than with the "
        "query, or the reverse",
    )

    def reach(self) -> tuple[str, int]:
        """The first k."""
        return "k", self.k

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(
    offer: Offer,
    rng: np.random.Generator,
    *,
    k: int,
    count: int,
    pool: int,
    angle: float,
    a: float,
    nearer: str,
    positives: str,
) -> Drawn:
    """Draw from the region, in two stages, without repetition; the positive is drawn first."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives, without_repetition

    column = offer.one_positive(rng)
    available = offer.candidates.available(k)
    width = max(int(available.max(initial=0)), 1)
    ranks = np.broadcast_to(np.arange(width), (len(available), width))
    passages = take(offer.candidates, ranks, ranks < available[:, None])
    gap, weight, apart = triangle(offer, offer.positive(column), passages)
    inside = (passages >= 0) & (apart <= angle)
    pooled, drawn = without_repetition(np.where(inside, -a * gap**2, -np.inf), pool, rng)
    weights = np.maximum(np.take_along_axis(weight if nearer == "positive" else -weight, pooled, 1), 0) * drawn
    fallback = ~weights.any(1, keepdims=True)
    with np.errstate(divide="ignore"):
        logs = np.log(weights)
    second, found = without_repetition(logs, count, rng)
    first = np.broadcast_to(np.arange(count), second.shape)
    in_order = first < drawn.sum(1, keepdims=True)  # what is drawn stands before what is missing
    place = np.where(fallback, np.minimum(first, pool - 1), second)
    chosen = np.take_along_axis(pooled, place, 1)
    negatives = take(offer.candidates, chosen, np.where(fallback, in_order & (first < pool), found))
    return with_positives(offer, column if positives == "one" else None, negatives, positives)


def triangle(offer: Offer, positive: Positions, passages: Positions) -> tuple[Numbers, Numbers, Numbers]:
    """The sides and angles of (query, positive, candidate).

    Args:
        offer: with the vectors.
        positive: int64 [B, 1].
        passages: candidates, int64 [B, L], -1 for none.

    Returns:
        s(q,d-) - s(q,d+), s(d+,d-) - s(q,d-), and |angle(q,d+) - angle(q,d-)| in degrees: float64 [B, L] each.
    """
    import numpy as np

    assert offer.vectors is not None
    asked = np.asarray(offer.vectors.queries(offer.queries), np.float64)
    own = np.asarray(offer.vectors.passages(positive[:, 0]), np.float64)
    found = np.asarray(offer.vectors.passages(np.maximum(passages, 0).ravel()), np.float64)
    found = found.reshape(*passages.shape, asked.shape[1])
    near, across = (np.einsum("bld,bd->bl", found, other) for other in (asked, own))
    best = (asked * own).sum(1, keepdims=True)

    def degrees(scores: Numbers, lengths: Numbers) -> Numbers:
        cosines = scores / np.maximum(np.linalg.norm(asked, axis=1, keepdims=True) * lengths, 1e-12)
        return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))), np.float64)

    apart = degrees(best, np.linalg.norm(own, axis=1, keepdims=True)) - degrees(near, np.linalg.norm(found, axis=2))
    return near - best, across - near, np.abs(apart)
