"""Near the positive's score (SimANS)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Drawn, Offer


class SimAnsSampler(Drawing):
    """`count` of the first `k` candidates, those that score near the positive more often (SimANS, Zhou et al. 2022).

    The weight of a candidate is exp(-a (gap - b)^2), with gap its score less the positive's. With `peak: paper` the
    weight is highest at a gap of b, as in the paper. The authors' code has it at -b (`peak: code`); the two differ only
    where b is not 0. Passages are drawn without repetition. The positive is drawn first.

    A query whose drawn positive has no score in the mined ranking draws uniformly.
    """

    needs: ClassVar[frozenset[str]] = Drawing.needs | {"scores", "positive_score", "one_source"}
    name: Literal["simans"] = "simans"
    k: int = Field(100, ge=1, description="how many of the best candidates are drawn from")
    count: int = Field(1, ge=1, description="negatives a query and step; the paper draws 15")
    a: float = Field(0.5, ge=0, description="how sharply the weight falls; 0 draws uniformly")
    b: float = Field(0.0, description="the gap of the highest weight; the paper has 1 on NQ, 0 elsewhere")
    peak: Literal["paper", "code"] = "paper"

    def reach(self) -> tuple[str, int]:
        """The first k."""
        return "k", self.k

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(
    offer: Offer, rng: np.random.Generator, *, k: int, count: int, a: float, b: float, peak: str, positives: str
) -> Drawn:
    """Draw in proportion to the weights, without repetition."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives, without_repetition

    assert offer.positive_scores is not None
    column = offer.one_positive(rng)
    available = offer.candidates.available(k)
    ranks = np.broadcast_to(np.arange(int(available.max(initial=0))), (len(available), int(available.max(initial=0))))
    there = ranks < available[:, None]
    gap = offer.candidates.scores(np.where(there, ranks, 0)) - np.take_along_axis(
        offer.positive_scores, column[:, None], 1
    )
    logs = np.where(there, log_weights(np.nan_to_num(gap), a, b if peak == "paper" else -b), -np.inf)
    chosen, drawn = without_repetition(logs, count, rng)
    joins = column if positives == "one" else None
    return with_positives(offer, joins, take(offer.candidates, chosen, drawn), positives)


def log_weights(gap: npt.NDArray[np.floating], a: float, b: float) -> npt.NDArray[np.float64]:
    """The logarithm of the weight of a score gap, up to a constant: -a (gap - b)^2."""
    import numpy as np

    return -a * (np.asarray(gap, np.float64) - b) ** 2
