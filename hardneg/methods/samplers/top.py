"""The best candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np

    from hardneg.methods.draws import Drawn, Offer


class TopSampler(Drawing):
    """The first `count` candidates, the same at every step."""

    needs: ClassVar[frozenset[str]] = frozenset({"ranking"})
    name: Literal["top"] = "top"
    count: int = Field(1, ge=1, description="negatives a query and step")

    def reach(self) -> tuple[str, int]:
        """The first `count`."""
        return "count", self.count

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(offer: Offer, rng: np.random.Generator, *, count: int, positives: str) -> Drawn:
    """The first `count`."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives

    column = offer.one_positive(rng) if positives == "one" else None
    available = offer.candidates.available(count)
    ranks = np.broadcast_to(np.arange(count, dtype=np.int64), (len(available), count))
    there = np.arange(count) < available[:, None]
    return with_positives(offer, column, take(offer.candidates, ranks, there), positives)
