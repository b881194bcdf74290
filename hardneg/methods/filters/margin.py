"""A margin to the positive."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Ranked


class Margin(Answer):
    """Candidates that score too close to the positive, or above it, are thrown out: they may be relevant.

    A candidate stays if its score is at most the positive's, less `absolute`, less `relative` times the positive's
    absolute value. Of several positives the lowest counts. Where no positive has a score, candidates stay.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mined", "scores", "positive_score"})
    name: Literal["margin"] = "margin"
    absolute: float = Field(0.0, description="in units of the ranking's score (TopK-MarginPos)")
    relative: float = Field(
        0.0, description="a share of the positive's score; .05 keeps candidates below 95% of it (TopK-PercPos)"
    )


def keep(found: Ranked, *, absolute: float, relative: float) -> npt.NDArray[np.bool_]:
    """Which candidates stay: bool [n]."""
    import numpy as np

    limit = found.positive_score - absolute - relative * np.abs(found.positive_score)
    return np.isnan(limit) | (found.score <= limit)
