"""Systems: what ranks passages, and how it was trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from hardneg import axes
from hardneg.config.base import Model, Path
from hardneg.config.index import Index
from hardneg.config.training import Training


class Vectors(Model):
    """Precomputed vectors: `.npy` files, [rows, width], float16 or float32, scored by inner product."""

    passages: tuple[Path, ...] = Field(min_length=1, description="the passage vectors, in one or several files")
    passage_ids: Path | None = Field(
        None, description="the passage id of each row, one per line; null: rows are in the collection's order"
    )
    queries: dict[str, Path] = Field(min_length=1, description="the query vectors of each split")
    query_ids: dict[str, Path] = Field(
        {}, description="by split, the query id of each row, one per line; without it, rows are in the split's order"
    )


def _from_factory(value: object) -> object:
    """Let users write an index as its factory string alone."""
    return {"factory": value} if isinstance(value, str) else value


class System(Model):
    """A retrieval system: one answer to each question of the grammar, and the system it starts from."""

    preset: str | None = Field(None, description="a published method; its answers are the defaults")
    from_: str | None = Field(
        None,
        alias="from",
        description="the system whose weights it starts with, or `study:system` for a system of another study; "
        "null: the weights of the backbone",
    )
    retriever: Literal["bm25", "dense", "run", "vectors"] = Field(
        "dense", description="run, vectors: evaluate rankings or vectors computed elsewhere"
    )
    runs: dict[str, Path] = Field({}, description="for retriever run: the TREC or MS MARCO run file of each split")
    vectors: Vectors | None = Field(None, description="for retriever vectors: the .npy files")
    trains: Literal["nothing", "both_encoders", "query_encoder"] = "both_encoders"
    source: axes.Source = axes.NoSource()
    filter: axes.Filter = axes.NoFilter()
    sampler: axes.Sampler = axes.UniformSampler()
    refresh: axes.Refresh = axes.Never()
    loss: axes.Loss = axes.RankNet()
    batch: axes.Batch = axes.OwnNegatives()
    train: Training = Field(default_factory=Training)
    index: Annotated[Index, BeforeValidator(_from_factory, json_schema_input_type=str | Index)] | None = Field(
        None, description="its own index, used to serve it and to train its query encoder; null: the top-level `index`"
    )
