"""Above-average probability (the passage sieve of CCR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Ranked


class Sieve(Answer):
    """Candidates that the mined model gives more than the mean log-probability are thrown out: they may be relevant.

    The mean is over all passages of a query that were retrieved, judged ones included, so the depth of the source
    decides how many. A query keeps its lowest candidate at least, unless that is judged relevant.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mined", "scores"})
    name: Literal["sieve"] = "sieve"


def keep(found: Ranked) -> npt.NDArray[np.bool_]:
    """Which candidates stay: bool [n], log p_i <= mean_j log p_j with p the softmax of a query's scores.

    The normaliser of the softmax is the same on both sides, so scores are compared with their mean.
    """
    import numpy as np

    _, of = np.unique(found.query, return_inverse=True)
    score = found.score.astype(np.float64)
    means = np.bincount(of, score) / np.maximum(np.bincount(of), 1)
    return score <= means[of]
