"""Queries of one topic (TAS)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions, TrainingQueries


class Topics(Answer):
    """A batch takes its queries from a few clusters of queries, so that in-batch pairs are on topic (TAS).

    At every step `per_batch` clusters are drawn uniformly, and an equal share of the batch from each, without
    repetition. A cluster that is too small is topped up with queries of other clusters.
    """

    stages: ClassVar[frozenset[str]] = frozenset({"clusters"})
    name: Literal["topics"] = "topics"
    clusters: int = Field(2000, ge=2, description="how many clusters the training queries are cut into (k-means)")
    per_batch: int = Field(1, ge=1, description="clusters a batch takes its queries from")
    system: str | None = Field(
        None, description="the system whose query vectors are clustered; null: the one this starts `from`"
    )


def rows(queries: TrainingQueries, step: int, *, clusters: int, per_batch: int) -> Positions:
    """The queries of a step: int64 [B]."""
    import numpy as np

    assert queries.topics is not None
    rng = np.random.default_rng([queries.seed, step, 1])
    size = min(queries.batch_size, len(queries.positions))
    order = rng.permutation(len(queries.positions))
    topics = queries.topics[order]
    drawn = rng.permutation(np.unique(topics))[:per_batch]
    shares = np.diff(np.arange(len(drawn) + 1) * size // len(drawn))
    taken = np.concatenate(
        [np.flatnonzero(topics == topic)[:share] for topic, share in zip(drawn, shares, strict=True)]
    )
    rest = np.setdiff1d(np.arange(len(order)), taken, assume_unique=True)
    chosen = np.concatenate((taken, rest[: size - len(taken)]))
    return queries.positions[order[chosen]]
