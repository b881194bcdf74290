"""The index, searched at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class LiveSource(Sourcing):
    """The top `depth` of the index under the query encoder of this very step (ADORE)."""

    needs: ClassVar[frozenset[str]] = frozenset({"every_step", "fixed_passages"})
    provides: ClassVar[frozenset[str]] = frozenset(
        {"negatives", "candidates", "ranking", "scores", "positive_score", "live"}
    )
    name: Literal["live"] = "live"
    depth: int = Field(200, ge=1, description="how many passages are retrieved a query and step (the paper's K)")


def candidates(material: Material, *, depth: int) -> Source:
    """What the index ranks on top for these very vectors (Zhan et al., section 6.2.1)."""
    from hardneg.methods.lists import LiveIndex

    assert material.search is not None
    return LiveIndex(material.search, depth)
