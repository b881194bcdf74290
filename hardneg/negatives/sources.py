"""Source axis: where candidates come from. Every static source is a ranked list a query, seen through `Candidates`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq

from hardneg.data.judgements import Judgements


class Candidates(Protocol):
    """Ranked candidates of every training query."""

    def available(self, queries: np.ndarray, k: int) -> np.ndarray:
        """How many candidates of each query may be drawn from if the first `k` are asked for: int64 [n]."""

    def at(self, queries: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Passage positions int64 [n, h] at ranks int64 [n, h] (from 0)."""


class WholeCollection:
    """Every passage, in no order: a depth means nothing here."""

    def __init__(self, passages: int) -> None:
        self.passages = passages

    def available(self, queries: np.ndarray, k: int) -> np.ndarray:
        """All passages, whatever `k`."""
        return np.full(len(queries), self.passages, np.int64)

    def at(self, queries: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """The passage at a rank is the one at that position."""
        return ranks


class MinedLists:
    """Lists from the mining stage.

    Args:
        query: [m] ascending query positions, any integers.
        passage: [m] passage positions, best first within a query; kept as they are, int32 halves their memory.
        queries: number of queries.
    """

    def __init__(self, query: np.ndarray, passage: np.ndarray, queries: int) -> None:
        self.passage = passage
        self.offsets = np.searchsorted(query, np.arange(queries + 1, dtype=query.dtype))

    def available(self, queries: np.ndarray, k: int) -> np.ndarray:
        """The list's length, at most `k`."""
        return np.minimum(self.offsets[queries + 1] - self.offsets[queries], k)

    def at(self, queries: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """The list's entry at each rank."""
        return self.passage[self.offsets[queries][:, None] + ranks].astype(np.int64)


def no_candidates(negatives: Path | None, queries: int, passages: int) -> None:
    """`none`: nothing is mined."""


def whole_collection(negatives: Path | None, queries: int, passages: int) -> Candidates:
    """`random`: every passage is a candidate of every query."""
    return WholeCollection(passages)


def mined(negatives: Path | None, queries: int, passages: int) -> Candidates:
    """`run` and `self`: the lists in `negatives.parquet`."""
    assert negatives is not None
    query, passage = (pq.read_table(negatives, columns=[name]).column(0).to_numpy() for name in ("query", "passage"))
    return MinedLists(query, passage, queries)


def live(
    retrieved: np.ndarray, queries: np.ndarray, judged: Judgements, *, append: str
) -> tuple[np.ndarray, np.ndarray]:
    """`live`: the retrieved list, with positives that were not retrieved joined to its end.

    Args:
        retrieved: int64 [n, k], passage positions, best first.
        queries: int64 [n], query positions.
        judged: the training judgements.
        append: `missing` joins each positive that was not retrieved; `if_none` joins all of them where none was.

    Returns:
        Passage positions int64 [n, L], -1 beyond a list's end, and grades int64 [n, L], 0 where not judged relevant.
    """
    n, k = retrieved.shape
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    grades = np.zeros((n, k), np.int64)
    for row, query in enumerate(queries):
        positives, levels = judged.of(int(query))
        order = np.searchsorted(positives, retrieved[row])
        hit = (order < len(positives)) & (positives[np.minimum(order, len(positives) - 1)] == retrieved[row])
        grades[row, hit] = levels[order[hit]]
        absent = (
            ~np.isin(positives, retrieved[row])
            if append == "missing" or not hit.any()
            else np.zeros(len(positives), bool)
        )
        rows.append((positives[absent], levels[absent]))
    longest = max(len(extra) for extra, _ in rows)
    passages = np.full((n, k + longest), -1, np.int64)
    labels = np.zeros((n, k + longest), np.int64)
    passages[:, :k], labels[:, :k] = retrieved, grades
    for row, (extra, levels) in enumerate(rows):
        passages[row, k : k + len(extra)], labels[row, k : k + len(extra)] = extra, levels
    return passages, labels
