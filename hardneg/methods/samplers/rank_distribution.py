"""By ranks at which relevant passages are unlikely (RANCE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Drawing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Drawn, Offer

WINDOW, DEGREE, OFFSET = 9, 4, 2

Share = Annotated[float, Field(ge=0, le=1)]


class RankDistribution(Drawing):
    """`count` of the first `k` candidates, by a distribution over ranks (RANCE, Prakash et al. 2021).

    A fully judged sample of queries says at which ranks relevant passages stand. These ranks are drawn less often,
    because unjudged relevant passages stand there too; deep ranks also are. The distribution is fitted to the sample's
    shares, which are given as `relevant`. Passages are drawn without repetition.
    """

    needs: ClassVar[frozenset[str]] = Drawing.needs | {"ranking"}
    name: Literal["rank_distribution"] = "rank_distribution"
    k: int = Field(200, ge=WINDOW + DEGREE, description="how many of the best candidates are drawn from")
    count: int = Field(1, ge=1, description="negatives a query and step")
    relevant: tuple[Share, ...] = Field(
        (),
        description="of ranks 1, 2, ...: the share of the judged queries that have a relevant passage there; ranks "
        "that are not given have none",
    )

    def reach(self) -> tuple[str, int]:
        """The first k."""
        return "k", self.k

    def asked(self) -> tuple[str, int]:
        """As many as `count`."""
        return "count", self.count


def draw(
    offer: Offer, rng: np.random.Generator, *, k: int, count: int, relevant: tuple[float, ...], positives: str
) -> Drawn:
    """Draw ranks in proportion to their probabilities, without repetition; the positive is drawn first."""
    import numpy as np

    from hardneg.methods.draws import take, with_positives, without_repetition

    column = offer.one_positive(rng) if positives == "one" else None
    available = offer.candidates.available(k)
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities(relevant, k))
    there = np.arange(k) < available[:, None]
    chosen, drawn = without_repetition(np.where(there, logs, -np.inf), count, rng)
    return with_positives(offer, column, take(offer.candidates, chosen, drawn), positives)


def probabilities(relevant: tuple[float, ...], k: int) -> npt.NDArray[np.float64]:
    """P(r) of ranks r = 0 .. k - 1: float64 [k].

    gain_r = (1 - relevant_r) / ln(r + 2); g is its moving average over 9 ranks, without the ends; p is the polynomial
    of degree 4 through g by least squares, with its first and last values repeated 4 times; P(r) is in proportion to
    max(0, p_r - min g).
    """
    import numpy as np

    shares = np.zeros(k)
    shares[: len(relevant)] = relevant[:k]
    gain = (1 - shares) / np.log(np.arange(k) + OFFSET)
    smooth = np.convolve(gain, np.full(WINDOW, 1 / WINDOW), "valid")
    fitted = np.polynomial.Polynomial.fit(np.arange(len(smooth)), smooth, DEGREE)(np.arange(len(smooth)))
    weights = np.maximum(np.pad(fitted, WINDOW // 2, mode="edge") - smooth.min(), 0)
    total = float(weights.sum())
    return weights / total if total > 0 else np.full(k, 1 / k)
