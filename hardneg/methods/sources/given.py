"""The negatives that the collection itself gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Mined

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class GivenSource(Mined):
    """The negatives of the collection's own rows (`collection.format: pairs`), in the order given.

    They go through mining as a ranking does: what is judged relevant is left out, and filters see them. Where a filter
    or sampler reads scores, each negative must have one in its row. A relevant passage without a score counts as one
    that the ranking does not hold.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"given"})
    provides: ClassVar[frozenset[str]] = Mined.provides - {"mined_vectors"}
    stages: ClassVar[frozenset[str]] = frozenset({"mine", "given_lists"})
    name: Literal["given"] = "given"
    depth: int = Field(200, ge=1, description="how many negatives of a query are looked at, in the order given")

    def mined_system(self, start: str | None) -> None:
        """None: no system's ranking is mined."""
        return None


def candidates(material: Material, *, depth: int) -> Source:
    """The given lists, as mining left them."""
    from hardneg.methods.lists import MinedLists

    assert material.negatives is not None
    return MinedLists.read(material.negatives, material.queries)
