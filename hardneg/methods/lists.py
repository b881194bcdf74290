"""Candidates that were mined before the training: a ranked list for each query."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions, Scores


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
