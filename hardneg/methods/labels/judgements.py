"""Judged relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class Judgements(Answer):
    """The judgements of the collection say what is relevant; there is no teacher."""

    name: Literal["judgements"] = "judgements"


def label(scored: Teacher | None) -> Teacher | None:
    """No teacher."""
    return None
