"""A range of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Ranked


class RankRange(Answer):
    """Candidates outside a range of ranks are thrown out, such as the first few, which are often relevant."""

    needs: ClassVar[frozenset[str]] = frozenset({"mined", "ranking"})
    name: Literal["ranks"] = "ranks"
    first: int = Field(1, ge=1, description="the best rank that stays; judged passages count")
    last: int | None = Field(None, ge=1, description="the worst rank that stays; null: the depth of the source")


def keep(found: Ranked, *, first: int, last: int | None) -> npt.NDArray[np.bool_]:
    """Which candidates stay: bool [n]."""
    import numpy as np

    return (found.rank >= first) & (found.rank <= (np.inf if last is None else last))
