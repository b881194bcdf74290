"""The judged passages of a split, for masks and labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hardneg.data.copies import EQUAL_PASSAGES, EQUAL_QUERIES, OWN_PASSAGES, read_first, read_pairs

Positions = npt.NDArray[np.int64]
OWN = -1
"""What stands for a grade where a passage is the query itself: neither a positive nor a negative."""


class Equal(NamedTuple):
    """What is one and the same by its text; see `hardneg.data.copies`.

    Attributes:
        query: int64 [queries], the first query with the same text; None if all differ.
        passage: int64 [passages], the first passage with the same text; None if all differ.
        own: queries and passages that are these queries themselves: int64 [n] each.
    """

    query: Positions | None = None
    passage: Positions | None = None
    own: tuple[Positions, Positions] = (np.zeros(0, np.int64), np.zeros(0, np.int64))


class Judgements:
    """Positive judgements (grade above 0), as sorted keys and as a list per query.

    The lists hold what was judged. `contains` and `grades_of` also know what follows from equal texts: a copy of a
    relevant passage is relevant, and so is what is relevant to a query with the same text. A passage that is the query
    itself is contained, with the grade `OWN`, unless it is judged relevant. Positions from `passages` on are of texts
    outside the collection, which are relevant to nothing.

    Args:
        query: int64 [m], query positions.
        passage: int64 [m], passage positions.
        grade: int64 [m]; entries of grade 0 or less are ignored.
        queries: number of queries of the split.
        passages: number of passages of the collection.
        equal: texts that occur under several ids.
    """

    def __init__(
        self,
        query: np.ndarray,
        passage: np.ndarray,
        grade: np.ndarray,
        queries: int,
        passages: int,
        equal: Equal | None = None,
    ) -> None:
        keep = grade > 0
        keys = query[keep].astype(np.int64) * passages + passage[keep]
        self.keys, first = np.unique(keys, return_index=True)
        self.grades = grade[keep][first].astype(np.int64)
        self.passages = passages
        self.offsets = np.searchsorted(self.keys, np.arange(queries + 1, dtype=np.int64) * passages)
        self._equal = equal or Equal()
        self._known, self._known_grades = self._by_text()

    @classmethod
    def read(cls, qrels: Path, queries: int, passages: int) -> Self:
        """Read `qrels.<split>.parquet`, and the files beside it that tell of equal texts."""
        table = pq.read_table(qrels, columns=["query", "passage", "grade"])
        query, passage, grade = (table.column(name).to_numpy() for name in ("query", "passage", "grade"))
        folder, split = qrels.parent, qrels.name.removeprefix("qrels.").removesuffix(".parquet")
        equal = Equal(
            read_first(folder / EQUAL_QUERIES.format(split=split), queries),
            read_first(folder / EQUAL_PASSAGES, passages),
            read_pairs(folder / OWN_PASSAGES.format(split=split)),
        )
        return cls(query, passage, grade, queries, passages, equal)

    def _by_text(self) -> tuple[Positions, Positions]:
        """Sorted keys of the pairs that follow from the judgements, and their grades; the highest where several do."""
        if self._equal.query is None and self._equal.passage is None and not len(self._equal.own[0]):
            return self.keys, self.grades
        pairs = [np.stack(np.divmod(self.keys, self.passages)), np.stack(self._equal.own)]
        keys = np.concatenate([self._key(query, passage) for query, passage in pairs])
        grades = np.concatenate((self.grades, np.full(len(self._equal.own[0]), OWN)))
        order = np.lexsort((-grades, keys))
        known, first = np.unique(keys[order], return_index=True)
        return known, grades[order][first]

    def _key(self, query: np.ndarray, passage: np.ndarray) -> Positions:
        """The key of each pair, by the first query and the first passage with the same texts; -1 outside of these."""
        within = (passage >= 0) & (passage < self.passages)
        if self._equal.query is not None:
            query = self._equal.query[query]
        if self._equal.passage is not None:
            passage = self._equal.passage[np.where(within, passage, 0)]
        return np.where(within, query.astype(np.int64) * self.passages + passage, -1)

    def contains(self, query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        """Whether each (query, passage) pair must not serve as a negative: bool, in the broadcast shape."""
        wanted = self._key(query, passage)
        if not len(self._known):
            return np.zeros(wanted.shape, dtype=bool)
        found = np.minimum(np.searchsorted(self._known, wanted), len(self._known) - 1)
        return np.asarray(self._known[found] == wanted)

    def grades_of(self, query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        """Grades of (query, passage) pairs: int64, in the broadcast shape; 0 if not judged relevant, or `OWN`."""
        wanted = self._key(query, passage)
        if not len(self._known):
            return np.zeros(wanted.shape, np.int64)
        found = np.minimum(np.searchsorted(self._known, wanted), len(self._known) - 1)
        return np.where(self._known[found] == wanted, self._known_grades[found], 0)

    def table(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All relevant passages of some queries, ascending, and their grades: int64 [n, P]; -1 and 0 beyond."""
        first = self.offsets[queries]
        counts = self.offsets[queries + 1] - first
        columns = np.arange(int(counts.max(initial=0)))
        there = columns < counts[:, None]
        entries = np.where(there, first[:, None] + columns, 0)
        passages = np.where(there, self.keys[entries] - queries[:, None] * self.passages, -1)
        return passages, np.where(there, self.grades[entries], 0)

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Passage positions int64 [p] in ascending order, and their grades int64 [p]."""
        rows = slice(self.offsets[query], self.offsets[query + 1])
        return self.keys[rows] - query * self.passages, self.grades[rows]

    def with_positives(self) -> np.ndarray:
        """Positions of the queries that have a positive: int64, ascending."""
        return np.flatnonzero(np.diff(self.offsets) > 0)
