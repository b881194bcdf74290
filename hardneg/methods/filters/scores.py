"""Bounds of the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Ranked


class ScoreBounds(Answer):
    """Candidates whose score in the ranking is below `least` or above `most` are thrown out."""

    needs: ClassVar[frozenset[str]] = frozenset({"mined", "scores"})
    name: Literal["scores"] = "scores"
    least: float | None = Field(None, description="null: no lower bound")
    most: float | None = Field(None, description="null: no upper bound")


def keep(found: Ranked, *, least: float | None, most: float | None) -> npt.NDArray[np.bool_]:
    """Which candidates stay: bool [n]."""
    import numpy as np

    low, high = -np.inf if least is None else least, np.inf if most is None else most
    return (found.score >= low) & (found.score <= high)
