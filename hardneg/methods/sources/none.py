"""No candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material


class NoSource(Sourcing):
    """No candidates: the batch alone supplies negatives."""

    name: Literal["none"] = "none"


def candidates(material: Material) -> None:
    """Nothing."""
