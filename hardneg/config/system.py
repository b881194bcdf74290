"""Systems: what ranks passages, and how it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from hardneg.config.base import Model, Path
from hardneg.config.index import Index
from hardneg.config.training import Training
from hardneg.methods.axes import annotation, default_of
from hardneg.methods.base import Answer, Drawing, Grouping, Renewal, Sourcing, Weighted

if TYPE_CHECKING:
    Order: TypeAlias = Answer
    Sources: TypeAlias = tuple[Sourcing, ...]
    Filters: TypeAlias = tuple[Answer, ...]
    Sampler: TypeAlias = Drawing
    Refresh: TypeAlias = Renewal
    Labels: TypeAlias = Answer
    Losses: TypeAlias = tuple[Weighted, ...]
    Batch: TypeAlias = Grouping
else:
    # One of the answers that are registered, whichever these are.
    Order, Sources, Filters, Sampler = (annotation(key) for key in ("order", "source", "filter", "sampler"))
    Refresh, Labels, Losses, Batch = (annotation(key) for key in ("refresh", "labels", "loss", "batch"))


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


class Rerank(Model):
    """The first stage of what reorders: the ranking that is reordered."""

    system: str = Field("bm25", description="the system whose ranking is reordered")
    depth: int = Field(100, ge=1, description="passages of a query that are scored")


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
    retriever: Literal["bm25", "deepct", "dense", "letor", "rerank", "run", "vectors"] = Field(
        "dense",
        description="rerank: a cross-encoder or a late interaction reorders another system's ranking; letor: "
        "LambdaMART over features of words does; deepct: BM25 on learned term weights; run, vectors: evaluate rankings "
        "or vectors computed elsewhere",
    )
    runs: dict[str, Path] = Field({}, description="for retriever run: the TREC or MS MARCO run file of each split")
    vectors: Vectors | None = Field(None, description="for retriever vectors: the .npy files")
    rerank: Rerank | None = Field(None, description="for retriever rerank or letor: what is reordered")
    trains: Literal["nothing", "both_encoders", "query_encoder", "cross_encoder", "late_interaction"] = "both_encoders"
    order: Order = default_of("order")
    source: Sources = default_of("source")
    filter: Filters = default_of("filter")
    sampler: Sampler | None = Field(None, description="null: uniform where there are candidates to draw from")
    refresh: Refresh = default_of("refresh")
    labels: Labels = default_of("labels")
    loss: Losses = default_of("loss")
    batch: Batch = default_of("batch")
    train: Training = Field(default_factory=Training)
    width: int | None = Field(
        None,
        ge=1,
        description="the first numbers of the vectors of the system that this one starts from, which trains nothing; "
        "`encoder.dims` adds such systems",
    )
    index: Annotated[Index, BeforeValidator(_from_factory, json_schema_input_type=str | Index)] | None = Field(
        None, description="its own index, used to serve it and to train its query encoder; null: the top-level `index`"
    )
