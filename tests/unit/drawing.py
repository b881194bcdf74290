"""Offers to samplers, written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardneg.methods.draws import MinedVectors, Offer, Positions, Scores, Teacher


class Listed:
    """A ranked list for each query, with scores; see `hardneg.methods.draws.Candidates`."""

    def __init__(self, lists: Sequence[Sequence[int]], scores: Sequence[Sequence[float]] | None) -> None:
        width = max(map(len, lists))
        self._length = np.array([len(each) for each in lists])
        self._passages = np.array([[*each, *[-1] * (width - len(each))] for each in lists], np.int64)
        filled = scores or [[np.nan] * len(each) for each in lists]
        self._scores = np.array([[*each, *[np.nan] * (width - len(each))] for each in filled], np.float32)

    def available(self, k: int | None) -> Positions:
        """The list's length, at most `k`."""
        return self._length if k is None else np.minimum(self._length, k)

    def at(self, ranks: Positions) -> Positions:
        """The passages at some ranks."""
        return np.take_along_axis(self._passages, ranks, 1)

    def scores(self, ranks: Positions) -> Scores:
        """Their scores."""
        return np.take_along_axis(self._scores, ranks, 1)


def offer_of(
    lists: Sequence[Sequence[int]],
    positives: Sequence[Sequence[int]],
    scores: Sequence[Sequence[float]] | None = None,
    positive_scores: Sequence[Sequence[float]] | None = None,
    teacher: Teacher | None = None,
    vectors: MinedVectors | None = None,
) -> Offer:
    """What a sampler is offered for queries 0, 1, ...; positives of all queries are as many."""
    known = None if positive_scores is None else np.array(positive_scores, np.float32)
    queries = np.arange(len(lists))
    return Offer(queries, np.array(positives, np.int64), Listed(lists, scores), known, teacher, vectors)
