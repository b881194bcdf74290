"""Untied encoders: the settings of the passage encoder, where it starts from a backbone of its own."""

from __future__ import annotations

from typing import NamedTuple

from hardneg.config import Encoder
from hardneg.errors import HardnegError
from hardneg.model.described import Described
from hardneg.planning.backbone import resolved

KEY = "encoder.passage_backbone"
ALIKE = ("pooling", "normalize", "lower_case")
"""Settings of both encoders at once."""
OF_PASSAGES = ("passage_length", "passage_template")


class Resolved(NamedTuple):
    """An encoder with every open setting filled in, and what its backbones say.

    Attributes:
        encoder: its settings.
        said: what the backbone says of itself.
        passages_said: what that of the passage encoder says, which is the same where there is one only.
        notes: where settings differ from that.
    """

    encoder: Encoder
    said: Described
    passages_said: Described
    notes: list[str]


def of_passages(encoder: Encoder) -> Encoder | None:
    """The settings of the passage encoder alone; None where it starts from the query encoder's backbone."""
    if encoder.passage_backbone is None:
        return None
    own = {"backbone": encoder.passage_backbone, "revision": encoder.passage_revision}
    return encoder.model_copy(update={**own, "passage_backbone": None, "passage_revision": None})


def resolved_sides(encoder: Encoder) -> Resolved:
    """See `Resolved`; what concerns passages is taken from the backbone of the passage encoder.

    Raises:
        HardnegError: a backbone cannot be used, or the two say different things of a setting that is left open.
    """
    ours, said, notes = resolved(encoder)
    passages = of_passages(encoder)
    if passages is None:
        return Resolved(ours, said, said, notes)
    theirs, passages_said, more = resolved(passages, KEY)
    for name in ALIKE:
        found = [getattr(side, name) for side in (ours, theirs)]
        if found[0] != found[1]:
            raise HardnegError(
                "The two backbones say different things of their vectors or texts.",
                where=f"encoder.{name}",
                found=f"{found[0]} for queries, {found[1]} for passages".lower(),
                remedy="set the key: it holds for both.",
            )
    apart = tuple(f"encoder.{name}" for name in OF_PASSAGES)
    kept = [note for note in notes if not note.startswith(apart)]
    kept += [note for note in more if note.startswith((*apart, KEY))]
    own = {name: getattr(theirs, name) for name in OF_PASSAGES}
    return Resolved(ours.model_copy(update=own), said, passages_said, kept)
