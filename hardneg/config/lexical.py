"""Systems of words beside BM25 that learn from judgements: a learned ranking of features."""

from __future__ import annotations

from pydantic import Field

from hardneg.config.base import Model


class Letor(Model):
    """LambdaMART over features of words, for `retriever: letor`. Needs the package lightgbm."""

    trees: int = Field(200, ge=1, description="trees of the model")
    leaves: int = Field(15, ge=2, description="leaves of a tree")
    lr: float = Field(0.1, gt=0, description="what each tree adds is multiplied by it")
    least: int = Field(20, ge=1, description="training candidates that a leaf needs")
