"""Sampler axis: which candidates are drawn at a step. -1 stands for a negative that a query does not have."""

from __future__ import annotations

import numpy as np

from hardneg.negatives.sources import Candidates


def uniform(candidates: Candidates, queries: np.ndarray, rng: np.random.Generator, *, k: int, count: int) -> np.ndarray:
    """`uniform`: `count` of the first `k`, without repetition, all subsets alike: int64 [n, count]."""
    available = candidates.available(queries, k)
    if count == 1:
        ranks = (rng.random(len(queries)) * available).astype(np.int64)[:, None]
    else:
        ranks = np.zeros((len(queries), count), np.int64)
        for row, size in enumerate(available):
            drawn = rng.choice(size, min(count, size), replace=False) if size else np.zeros(0, np.int64)
            ranks[row, : len(drawn)] = drawn
    return _taken(candidates, queries, ranks, available)


def top(candidates: Candidates, queries: np.ndarray, rng: np.random.Generator, *, count: int) -> np.ndarray:
    """`top`: the first `count`: int64 [n, count]."""
    ranks = np.broadcast_to(np.arange(count, dtype=np.int64), (len(queries), count))
    return _taken(candidates, queries, ranks, candidates.available(queries, count))


def every(retrieved: np.ndarray) -> np.ndarray:
    """`all`: the live list as it is."""
    return retrieved


def _taken(candidates: Candidates, queries: np.ndarray, ranks: np.ndarray, available: np.ndarray) -> np.ndarray:
    have = np.arange(ranks.shape[1]) < available[:, None]
    taken = np.full(ranks.shape, -1, np.int64)
    some = available > 0
    taken[some] = candidates.at(queries[some], np.where(have, ranks, 0)[some])
    return np.where(have, taken, -1)
