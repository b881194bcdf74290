"""Systems of words beside BM25 that learn from judgements: a learned ranking of features, and term weights."""

from __future__ import annotations

from pydantic import Field

from hardneg.config.base import Model


class Letor(Model):
    """LambdaMART over features of words, for `retriever: letor`. Needs the package lightgbm."""

    trees: int = Field(200, ge=1, description="trees of the model")
    leaves: int = Field(15, ge=2, description="leaves of a tree")
    lr: float = Field(0.1, gt=0, description="what each tree adds is multiplied by it")
    least: int = Field(20, ge=1, description="training candidates that a leaf needs")


class Deepct(Model):
    """Term weights in place of term frequencies, for `retriever: deepct`.

    Backbone and `passage_length` are those of `encoder`, `passage_template` and `language` those of `bm25`. All of the
    backbone trains, in float32, without adapters.
    """

    scale: int = Field(100, ge=1, description="a word of weight 1 is indexed so many times")
    k1: float = Field(10.0, ge=0, description="BM25's, on these frequencies")
    b: float = Field(0.9, ge=0, le=1)
