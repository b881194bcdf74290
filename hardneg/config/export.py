"""What is written for other tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from hardneg.config.base import Model


class NegativesExport(Model):
    """The mined negatives of a system, as rows that other tools train on."""

    negatives: str = Field(description="the system whose mined negatives are written")
    count: int = Field(8, ge=1, description="negatives of a query, at most")
    draw: Literal["top", "uniform"] = Field(
        "top", description="top: the first of a query's list; uniform: any of the whole list, by `seed`"
    )


def _kind(value: Any) -> str:
    return "negatives" if isinstance(value, Mapping | NegativesExport) else "system"


Exported = Annotated[Annotated[str, Tag("system")] | Annotated[NegativesExport, Tag("negatives")], Discriminator(_kind)]
"""A system by its name, or `{negatives: NAME}`."""
