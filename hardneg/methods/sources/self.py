"""The system's own ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Mined

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class SelfSource(Mined):
    """The system's own ranking, mined again at the start of every round (ANCE). The first round mines `from`."""

    needs: ClassVar[frozenset[str]] = frozenset({"rounds"})
    provides: ClassVar[frozenset[str]] = Mined.provides | {"mined_anew"}
    name: Literal["self"] = "self"


def candidates(material: Material, *, depth: int) -> Source:
    """The lists mined for this round."""
    from hardneg.methods.lists import MinedLists

    assert material.negatives is not None
    return MinedLists.read(material.negatives, material.queries)
