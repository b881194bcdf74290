"""Texts that a language model wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class GeneratedSource(Sourcing):
    """Hard negatives that a language model wrote for each training query, as the section `generation` says (SyNeg).

    They are texts outside the collection: never indexed, retrieved, evaluated or counted.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"read_passages", "written"})
    provides: ClassVar[frozenset[str]] = frozenset({"negatives", "candidates"})
    stages: ClassVar[frozenset[str]] = frozenset({"generated"})
    name: Literal["generated"] = "generated"


def candidates(material: Material) -> Source:
    """The texts written for each query, in the order in which they were written."""
    from hardneg.methods.lists import MinedLists

    assert material.outside is not None
    return MinedLists.read(material.outside, material.queries)
