"""The ranking of an earlier system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hardneg.methods.base import Mined

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Source


class RunSource(Mined):
    """The ranking of an earlier system (BM25 or dense) for the training queries, cut at `depth`."""

    name: Literal["run"] = "run"
    system: str | None = Field(None, description="the system whose ranking is mined; null: the one this starts `from`")

    def mined_system(self, start: str | None) -> str | None:
        """The named system, or the one that this starts from."""
        return self.system or start


def candidates(material: Material, *, depth: int) -> Source:
    """The mined lists."""
    from hardneg.methods.lists import MinedLists

    assert material.negatives is not None
    return MinedLists.read(material.negatives, material.queries)
