"""The judged passages of a split, for masks and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq


class Judgements:
    """Positive judgements (grade above 0), as sorted keys and as a list per query.

    Args:
        query: int64 [m], query positions.
        passage: int64 [m], passage positions.
        grade: int64 [m]; entries of grade 0 or less are ignored.
        queries: number of queries of the split.
        passages: number of passages of the collection.
    """

    def __init__(self, query: np.ndarray, passage: np.ndarray, grade: np.ndarray, queries: int, passages: int) -> None:
        keep = grade > 0
        keys = query[keep].astype(np.int64) * passages + passage[keep]
        self.keys, first = np.unique(keys, return_index=True)
        self.grades = grade[keep][first].astype(np.int64)
        self.passages = passages
        self.offsets = np.searchsorted(self.keys, np.arange(queries + 1, dtype=np.int64) * passages)

    @classmethod
    def read(cls, qrels: Path, queries: int, passages: int) -> Self:
        """Read `qrels.<split>.parquet`."""
        table = pq.read_table(qrels, columns=["query", "passage", "grade"])
        query, passage, grade = (table.column(name).to_numpy() for name in ("query", "passage", "grade"))
        return cls(query, passage, grade, queries, passages)

    def contains(self, query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        """Whether each (query, passage) pair is judged relevant: bool, in the broadcast shape of both arguments."""
        wanted = query.astype(np.int64) * self.passages + passage
        if not len(self.keys):
            return np.zeros(wanted.shape, dtype=bool)
        found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.asarray(self.keys[found] == wanted)

    def grades_of(self, query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        """Grades of (query, passage) pairs: int64, in the broadcast shape; 0 if not judged relevant."""
        wanted = query.astype(np.int64) * self.passages + passage
        if not len(self.keys):
            return np.zeros(wanted.shape, np.int64)
        found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[found] == wanted, self.grades[found], 0)

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
