"""What a language model writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hardneg.config.base import Path
from hardneg.generation.settings import GenerationSettings


class Generation(GenerationSettings):
    """Hard negatives that a language model writes for training queries, for `source: generated`."""

    kind: Literal["negatives"] = Field("negatives", description="what is written")
    queries: int | None = Field(
        None, ge=1, description="how many training queries texts are written for, drawn by `seed`; null: all"
    )
    review: Path | None = Field(
        None, description="a copy of the stage's review.tsv, from which a person struck lines; null: all accepted texts"
    )
