"""Every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np

    from hardneg.methods.draws import Drawn, Offer


class AllSampler(Drawing):
    """Every candidate, such as the whole live list."""

    needs: ClassVar[frozenset[str]] = frozenset({"ranking", "one_source"})
    name: Literal["all"] = "all"


def draw(offer: Offer, rng: np.random.Generator, *, positives: str) -> Drawn:
    """The whole list, in its order."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives

    column = offer.one_positive(rng) if positives == "one" else None
    available = offer.candidates.available(None)
    ranks = np.broadcast_to(np.arange(int(available.max(initial=0))), (len(available), int(available.max(initial=0))))
    return with_positives(offer, column, take(offer.candidates, ranks, ranks < available[:, None]), positives)
