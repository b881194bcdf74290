"""The whole collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class RandomSource(Sourcing):
    """The whole collection; the sampler draws from it afresh at every step."""

    provides: ClassVar[frozenset[str]] = frozenset({"negatives", "candidates"})
    name: Literal["random"] = "random"


def candidates(material: Material) -> Source:
    """Every passage of the collection."""
    from hardneg.methods.lists import WholeCollection

    return WholeCollection(material.passages)
