"""In proportion to the softmax of the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np

    from hardneg.methods.draws import Drawn, Offer


class SoftmaxSampler(Drawing):
    """`count` candidates, in proportion to the softmax of their scores (Gumbel-max), without repetition."""

    needs: ClassVar[frozenset[str]] = Drawing.needs | {"scores"}
    name: Literal["softmax"] = "softmax"
    k: int | None = Field(
        None, ge=1, description="how many of the best candidates are drawn from; null: all, which alone is unbiased"
    )
    count: int = Field(1, ge=1, description="negatives a query and step")
    tau: float = Field(1.0, gt=0, description="scores are divided by it")

    def reach(self) -> tuple[str, int] | None:
        """The first k."""
        return None if self.k is None else ("k", self.k)

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(offer: Offer, rng: np.random.Generator, *, k: int | None, count: int, tau: float, positives: str) -> Drawn:
    """Draw them; the positive is drawn first."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives, without_repetition

    column = offer.one_positive(rng) if positives == "one" else None
    available = offer.candidates.available(k)
    width = int(available.max(initial=0))
    ranks = np.broadcast_to(np.arange(width), (len(available), width))
    there = ranks < available[:, None]
    logs = np.where(there, offer.candidates.scores(np.where(there, ranks, 0)).astype(np.float64) / tau, -np.inf)
    chosen, drawn = without_repetition(logs, count, rng)
    return with_positives(offer, column, take(offer.candidates, chosen, drawn), positives)
