"""The scores that the collection itself gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Teacher


class GivenLabels(Answer):
    """The scores of the collection's own rows teach (`collection.format: pairs`), such as a cross-encoder's.

    They are those of relevant passages and of negatives, as they stand there. All other pairs have none. Judgements
    still say which passages are positives.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"given", "ranking"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"given_lists"})
    name: Literal["given"] = "given"


def label(scored: Teacher | None) -> Teacher | None:
    """The scores."""
    return scored
