"""Further collections: the systems of a study are evaluated on them as they are."""

from __future__ import annotations

from pydantic import Field

from hardneg.config.base import FolderName, Model, Path
from hardneg.config.collection import Collection
from hardneg.config.evaluation import Grade

MEAN = "mean"
"""What stands for all collections where the name of one stands for itself."""


class EvaluatedOn(Model):
    """A collection that systems are evaluated on without training there: its block, or a file that has it."""

    collection: Collection | None = Field(
        None, description="the collection; without it and without `config`, that of this study"
    )
    config: Path | None = Field(None, description="a configuration file, whose collection is meant")
    split: FolderName = Field("test", description="the queries and judgements that count")
    relevant_grade: Grade | None = Field(
        None, description="lowest grade that counts as relevant in binary measures; null: evaluation.relevant_grade"
    )
