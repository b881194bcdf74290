"""Candidates: lists that were mined before the training, what a live index returned, the whole collection."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardneg.methods.draws import Candidates, Positions, Scores


class MinedLists:
    """The lists of a mining stage.

    Args:
        query: [m], ascending query positions, any integers.
        passage: [m], passage positions, best first within a query; kept as they are, since int32 takes half the memory.
        queries: number of queries.
        file: where the scores can be read; None where they are not wanted.
    """

    ranked = False

    def __init__(self, query: np.ndarray, passage: np.ndarray, queries: int, file: Path | None = None) -> None:
        self.passage, self._file = passage, file
        self.offsets = np.searchsorted(query, np.arange(queries + 1, dtype=query.dtype))

    @classmethod
    def read(cls, negatives: Path, queries: int) -> Self:
        """Read `negatives.parquet`. Scores are read when they are asked for."""
        import pyarrow.parquet as pq

        query, passage = (
            pq.read_table(negatives, columns=[name]).column(0).to_numpy() for name in ("query", "passage")
        )
        return cls(query, passage, queries, negatives)

    @cached_property
    def score(self) -> np.ndarray:
        """The scores in the mined ranking: float32 [m]."""
        import pyarrow.parquet as pq

        assert self._file is not None
        return pq.read_table(self._file, columns=["score"]).column(0).to_numpy().astype(np.float32)

    def of(self, queries: Positions, vectors: object = None) -> ListsOfStep:
        """See `hardneg.methods.draws.Source`."""
        return ListsOfStep(self, queries)


class ListsOfStep:
    """The lists of the queries of a step; see `hardneg.methods.draws.Candidates`."""

    def __init__(self, lists: MinedLists, queries: Positions) -> None:
        self._lists = lists
        self._first = lists.offsets[queries]
        self._length = lists.offsets[queries + 1] - self._first

    def available(self, k: int | None) -> Positions:
        """The list's length, at most `k`."""
        return self._length if k is None else np.minimum(self._length, k)

    def at(self, ranks: Positions) -> Positions:
        """The list's entry at each rank."""
        return self._lists.passage[self._entries(ranks)].astype(np.int64)

    def scores(self, ranks: Positions) -> Scores:
        """The entry's score in the mined ranking."""
        return self._lists.score[self._entries(ranks)]

    def _entries(self, ranks: Positions) -> Positions:
        # A query without candidates may stand behind the last entry; what is taken for it is not used.
        return np.minimum(self._first[:, None] + ranks, len(self._lists.passage) - 1)


class WholeCollection:
    """Every passage is a candidate of every query, in no order, so that a depth means nothing.

    Args:
        passages: number of passages.
        queries: number of queries in the batch.
    """

    ranked = False

    def __init__(self, passages: int, queries: int = 0) -> None:
        self._passages, self._queries = passages, queries

    def of(self, queries: Positions, vectors: object) -> WholeCollection:
        """See `Source`."""
        return WholeCollection(self._passages, len(queries))

    def available(self, k: int | None) -> Positions:
        """All passages, whatever `k`."""
        return np.full(self._queries, self._passages, np.int64)

    def at(self, ranks: Positions) -> Positions:
        """The passage at a rank is the one at that position."""
        return ranks

    def scores(self, ranks: Positions) -> Scores:
        """Nothing was scored: NaN."""
        return np.full(ranks.shape, np.nan, np.float32)


class OwnCollection:
    """Every passage of a query's own collection, in no order; see `WholeCollection`.

    Args:
        ranges: int64 [n, 2], of each query: the first passage, and how many there are.
    """

    ranked = False

    def __init__(self, ranges: Positions) -> None:
        self._ranges = ranges

    def of(self, queries: Positions, vectors: object) -> OwnCollection:
        """See `Source`."""
        return OwnCollection(self._ranges[queries])

    def available(self, k: int | None) -> Positions:
        """All passages of the collection, whatever `k`."""
        return self._ranges[:, 1]

    def at(self, ranks: Positions) -> Positions:
        """The passage at a rank is the one at that position in the collection."""
        return self._ranges[:, :1] + ranks

    def scores(self, ranks: Positions) -> Scores:
        """Nothing was scored: NaN."""
        return np.full(ranks.shape, np.nan, np.float32)


class Retrieved:
    """What the index returned for the queries of a step; judged passages stand where they were retrieved.

    Args:
        passages: int64 [B, depth], -1 beyond what was found.
        found: float32 [B, depth], their scores.
    """

    def __init__(self, passages: Positions, found: Scores) -> None:
        self._passages, self._found = passages, found

    def available(self, k: int | None) -> Positions:
        """See `Candidates`."""
        counts: Positions = (self._passages >= 0).sum(1)
        return counts if k is None else np.minimum(counts, k)

    def at(self, ranks: Positions) -> Positions:
        """See `Candidates`."""
        return np.take_along_axis(self._passages, ranks, 1)

    def scores(self, ranks: Positions) -> Scores:
        """See `Candidates`."""
        return np.take_along_axis(self._found, ranks, 1)


class LiveIndex:
    """An index that is searched with the vectors of every step."""

    ranked = True

    def __init__(self, search: Callable[..., tuple[Positions, Scores]], depth: int) -> None:
        self._search, self._depth = search, depth

    def of(self, queries: Positions, vectors: object) -> Candidates:
        """See `Source`."""
        return Retrieved(*self._search(vectors, self._depth))
