"""What travels between sources, samplers and the trainer: candidates, what is offered of them, what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

# A teacher: scores float32 of query positions and passage positions, of one shape; NaN where it has none.
Teacher = Callable[[Positions, Positions], Scores]


class Judged(Protocol):
    """The judged passages of a split."""

    def table(self, queries: Positions) -> tuple[Positions, Positions]:
        """All relevant passages of some queries, ascending, and their grades: int64 [n, P]; -1 and 0 beyond."""


class Relevance(NamedTuple):
    """What a batch holds for relevant; see `hardneg.methods.batch.TrainingBatch`.

    Attributes:
        grades: int64 [B, C].
        listed: bool [B, C], what may be compared.
        judged: int64 [B, J], the grades of all relevant passages of a query, best first.
    """

    grades: Positions
    listed: npt.NDArray[np.bool_]
    judged: Positions


class Relabelling(Protocol):
    """A teacher whose scores change what the judgements say of a batch."""

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """See `Teacher`."""

    def relabel(self, scores: Scores, judged: Relevance) -> Relevance:
        """What is relevant after all.

        Args:
            scores: the teacher's, float32 [B, C], NaN where unknown.
            judged: what the judgements say.
        """


class EncodePlain(Protocol):
    """Encodes without dropout or gradients."""

    def __call__(self, what: str, positions: Positions, weights: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
        """Vectors float32 [n, dim] of `queries` or `passages`, with other weights than the encoder's where given."""


class Followed(NamedTuple):
    """What labels that follow the training know of it.

    Attributes:
        queries: int64 [m], of the judged pairs, ascending.
        passages: int64 [m], ascending within a query.
        collection: number of passages.
        epoch: steps of an epoch.
        seed: of the training.
        temperature: that scores are divided by.
    """

    queries: Positions
    passages: Positions
    collection: int
    epoch: int
    seed: int
    temperature: float


class Kept(Protocol):
    """An answer with a state of its own, which is part of every checkpoint."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Arrays by name."""

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from `state_dict()`."""


class Follower(Kept, Protocol):
    """Labels that follow the encoder that trains."""

    @property
    def facts(self) -> Mapping[str, int]:
        """What is told of the training when it is over."""

    def before(self, step: int, followed: Followed, module: torch.nn.Module, encode: EncodePlain) -> None:
        """Before a step, with the weights that the last one left."""

    def teach(
        self, queries: Positions, passages: Positions, encode: EncodePlain
    ) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
        """Scores float32 [B, C] of queries [B] and passages [C], and whether each pair is clean."""


class TrainingQueries(NamedTuple):
    """What an order sees.

    Attributes:
        positions: int64 [n], the training queries that have a positive, ascending.
        batch_size: queries a step.
        seed: of the training.
        topics: int64 [n], the cluster of each query, or None where the plan made no clusters.
    """

    positions: Positions
    batch_size: int
    seed: int
    topics: Positions | None = None


class Material(NamedTuple):
    """What a source is made from.

    Attributes:
        negatives: `negatives.parquet` of a mining stage, for a mined source.
        queries: number of training queries.
        passages: number of passages in the collection.
        seed: of the training.
        temperature: that scores are divided by.
        search: the live index: query vectors [B, dim] and a depth to passage positions int64 [B, depth] (-1 beyond
            what was found) and scores float32 [B, depth].
        outside: `negatives.parquet` of texts outside the collection, whose positions follow those of its passages.
        ranges: int64 [queries, 2], where several collections are joined: the first passage of the query's collection,
            and how many it has.
    """

    negatives: Path | None
    queries: int
    passages: int
    seed: int = 0
    temperature: float = 1.0
    search: Callable[..., tuple[Positions, Scores]] | None = None
    outside: Path | None = None
    ranges: Positions | None = None


class MinedVectors(NamedTuple):
    """The vectors that a mined ranking was made from.

    Attributes:
        queries: query positions int64 [n] to vectors float32 [n, dim].
        passages: passage positions int64 [n] to vectors float32 [n, dim].
    """

    queries: Callable[[Positions], Scores]
    passages: Callable[[Positions], Scores]


class Candidates(Protocol):
    """Ranked candidates of the B queries of a step."""

    def available(self, k: int | None) -> Positions:
        """How many candidates each query has, at most `k`: int64 [B]."""

    def at(self, ranks: Positions) -> Positions:
        """Passage positions int64 [B, h] at ranks int64 [B, h] (from 0), which must be available."""

    def scores(self, ranks: Positions) -> Scores:
        """Their scores in the ranking that they come from: float32 [B, h]."""


class Stateful(Kept, Protocol):
    """A source that changes with what training meets.

    Attributes:
        ranked: see `Source`.
    """

    ranked: bool

    def of(self, queries: Positions, vectors: object) -> Candidates:
        """See `Source`."""

    def start(self, encode: Callable[[Positions], torch.Tensor]) -> None:
        """Before the first step; `encode` gives passages [n] their vectors [n, dim], without dropout or gradients."""

    def met(self, positives: Positions, negatives: Positions, encoded: Mapping[int, np.ndarray]) -> None:
        """After a step: the positives and the negatives that it drew, and their vectors [dim] by position."""


class Source(Protocol):
    """Where candidates come from.

    Attributes:
        ranked: whether the candidates of a step are the present ranking of the encoder that trains.
    """

    ranked: bool

    def of(self, queries: Positions, vectors: object) -> Candidates:
        """The candidates of the queries of a step, whose vectors a live source searches with."""


@dataclass(frozen=True)
class Offer:
    """What a sampler chooses from, for the B queries of a step.

    Attributes:
        queries: int64 [B], query positions.
        positives: int64 [B, P], all passages judged relevant, ascending, -1 beyond.
        candidates: of one source.
        positive_scores: scores float32 [B, P] of the positives in the ranking that is mined, NaN where unknown; None
            where no answer needs them.
        teacher: scores pairs; None without a teacher.
        vectors: that the candidates were ranked by; None where no answer needs them.
    """

    queries: Positions
    positives: Positions
    candidates: Candidates
    positive_scores: Scores | None = None
    teacher: Teacher | None = None
    vectors: MinedVectors | None = None

    def one_positive(self, rng: np.random.Generator) -> Positions:
        """The column of one positive of each query, drawn uniformly: int64 [B]."""
        counts = (self.positives >= 0).sum(1)
        return (rng.random(len(self.queries)) * counts).astype(np.int64)

    def positive(self, column: Positions) -> Positions:
        """The positives at a column of each row: int64 [B, 1]."""
        return np.take_along_axis(self.positives, column[:, None], 1)


class Drawn(NamedTuple):
    """What a sampler drew for the B queries of a step.

    Attributes:
        positives: int64 [B, p], what joins the negatives, -1 for none.
        negatives: int64 [B, h], what was drawn of the candidates, -1 for none. A live list also holds judged passages.
        mass: float32 [B], the logarithm of the sum of e^score over all candidates, of a source that holds scores of its
            own; None of others.
    """

    positives: Positions
    negatives: Positions
    mass: Scores | None = None


def take(candidates: Candidates, ranks: Positions, there: npt.NDArray[np.bool_]) -> Positions:
    """The candidates at some ranks: int64 [B, h], -1 where `there` says that a query has none."""
    taken = np.full(ranks.shape, -1, np.int64)
    some = there.any(1)
    if some.any():
        taken = candidates.at(np.where(there, ranks, 0))
    return np.where(there, taken, -1)


def with_positives(offer: Offer, column: Positions | None, negatives: Positions, positives: str) -> Drawn:
    """What was drawn, and the positives that join it.

    Args:
        offer: what was drawn from.
        column: the positive that was drawn, where `positives` is `one`.
        negatives: int64 [B, h].
        positives: `one`, `missing` or `if_none`, as samplers have it.
    """
    if positives == "one":
        assert column is not None
        return Drawn(offer.positive(column), negatives)
    there = offer.positives >= 0
    found = (offer.positives[:, :, None] == negatives[:, None, :]).any(2) & there  # -1 stands for none in both
    absent = there & ~found
    if positives == "if_none":
        absent &= ~found.any(1, keepdims=True)
    return Drawn(_packed(offer.positives, absent), negatives)


def _packed(values: Positions, kept: npt.NDArray[np.bool_]) -> Positions:
    """The kept values of each row moved to its front, -1 behind; as wide as the longest row."""
    width = int(kept.sum(1).max(initial=0))
    order = np.argsort(~kept, axis=1, kind="stable")[:, :width]
    return np.where(np.take_along_axis(kept, order, 1), np.take_along_axis(values, order, 1), -1)


class Ranked(NamedTuple):
    """Candidates as a filter sees them: n hits of some queries, each query's in one piece.

    Attributes:
        query: int64 [n], query positions.
        passage: int64 [n], passage positions.
        rank: int64 [n], from 1, in the ranking that they come from, judged passages counted.
        score: float32 [n], in that ranking.
        positive_score: float32 [n], the score of the query's positive in that ranking, of the lowest where there are
            several; NaN where it is unknown.
    """

    query: Positions
    passage: Positions
    rank: Positions
    score: Scores
    positive_score: Scores


class PairScores:
    """Scores of (query, passage) pairs, found by their positions.

    Args:
        query: int64 [m].
        passage: int64 [m].
        score: float32 [m].
        passages: number of passages in the collection.
    """

    def __init__(self, query: Positions, passage: Positions, score: Scores, passages: int) -> None:
        keys = query.astype(np.int64) * passages + passage
        order = np.argsort(keys, kind="stable")
        self._keys, self._scores, self._passages = keys[order], score[order].astype(np.float32), passages

    @classmethod
    def read(cls, path: Path, passages: int) -> PairScores:
        """Read a Parquet file with the columns query, passage and score."""
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["query", "passage", "score"])
        query, passage, score = (table.column(name).to_numpy() for name in ("query", "passage", "score"))
        return cls(query, passage, score, passages)

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """Scores of pairs, of the shape that both arguments broadcast to; NaN where a pair was not scored."""
        within = (passage >= 0) & (passage < self._passages)
        wanted = np.where(within, query.astype(np.int64) * self._passages + passage, -1)
        if not len(self._keys):
            return np.full(wanted.shape, np.nan, np.float32)
        found = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[found] == wanted, self._scores[found], np.float32(np.nan))


def without_repetition(
    logs: npt.NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """Draw columns of each row without repetition, in proportion to their weights (the Gumbel top-k trick).

    Args:
        logs: float64 [B, L], logarithms of the weights; -inf is never drawn.
        count: how many to draw.
        rng: random numbers.

    Returns:
        Columns int64 [B, count], and bool [B, count], False where a row has fewer columns to draw from.
    """
    keys = logs + rng.gumbel(size=logs.shape)
    order = np.argsort(-keys, axis=1, kind="stable")[:, :count]
    drawn = np.take_along_axis(np.isfinite(logs), order, 1)
    missing = ((0, 0), (0, count - order.shape[1]))
    return np.pad(order, missing), np.pad(drawn, missing)
