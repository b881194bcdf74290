"""The whole collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class RandomSource(Sourcing):
    """The whole collection, where several are joined the query's own; the sampler draws from it at every step."""

    provides: ClassVar[frozenset[str]] = frozenset({"negatives", "candidates"})
    name: Literal["random"] = "random"


def candidates(material: Material) -> Source:
    """Every passage of the query's collection."""
    from hardneg.methods.lists import OwnCollection, WholeCollection

    if material.ranges is not None:
        return OwnCollection(material.ranges)
    return WholeCollection(material.passages)
