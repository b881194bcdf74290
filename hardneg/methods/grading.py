"""Teachers that change what a batch holds for relevant; see `hardneg.methods.draws.Relabelling`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardneg.methods.draws import Relevance

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions, Scores, Teacher


class Graded:
    """A teacher's ranking as grades (CL-DRD).

    Args:
        scored: scores pairs.
        best: passages with a grade of their own.
        middle: passages of grade 1.
    """

    def __init__(self, scored: Teacher, best: int, middle: int) -> None:
        self._scored, self._best, self._middle = scored, best, middle

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """The teacher's scores."""
        return self._scored(query, passage)

    def relabel(self, scores: Scores, judged: Relevance) -> Relevance:
        """The grade of place r = 0, 1, ... is best + 1 - r, then 1 for `middle` places, then 0; ties by column."""
        listed = judged.listed & ~np.isnan(scores)
        order = np.argsort(-np.where(listed, scores, -np.inf), axis=1, kind="stable")
        places = np.argsort(order, axis=1, kind="stable")
        own = np.maximum(self._best + 1 - places, np.where(places < self._best + self._middle, 1, 0))
        grades = np.where(listed & (places < self._best + self._middle), own, 0).astype(np.int64)
        return Relevance(grades, listed, -np.sort(-grades, axis=1))


class Guided:
    """A guide (GISTEmbed).

    Args:
        scored: scores pairs.
        absolute: margin to the positive's score, in units of the scores.
        relative: margin as a share of the positive's score.
    """

    def __init__(self, scored: Teacher, absolute: float, relative: float) -> None:
        self._scored, self._absolute, self._relative = scored, absolute, relative

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """The guide's scores."""
        return self._scored(query, passage)

    def relabel(self, scores: Scores, judged: Relevance) -> Relevance:
        """Negatives above the lowest positive are left out. Where no positive has a score, all stay."""
        positive = judged.listed & (judged.grades > 0)
        lowest = np.where(positive & ~np.isnan(scores), scores, np.inf).min(1, keepdims=True)
        lowest = np.where(np.isinf(lowest), np.nan, lowest)
        doubtful = (scores > lowest - self._absolute - self._relative * np.abs(lowest)) & ~positive
        return judged._replace(listed=judged.listed & ~doubtful)


class Pseudo:
    """A teacher that is sure of some passages (RocketQA, PAIR).

    Args:
        scored: scores pairs.
        positive: scores above it are of relevant passages.
        negative: scores below it are of passages that are not relevant.
    """

    def __init__(self, scored: Teacher, positive: float, negative: float) -> None:
        self._scored, self._positive, self._negative = scored, positive, negative

    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """The teacher's scores."""
        return self._scored(query, passage)

    def relabel(self, scores: Scores, judged: Relevance) -> Relevance:
        """Passages above `positive` get grade 1, those from `negative` on are left out; unknown ones stay."""
        relevant = judged.listed & (judged.grades == 0) & (scores > self._positive)
        unsure = (judged.grades == 0) & ~relevant & (scores >= self._negative)
        grades = np.where(relevant, 1, judged.grades)
        known = np.concatenate((judged.judged, relevant.astype(np.int64)), axis=1)
        return Relevance(grades, judged.listed & ~unsure, -np.sort(-known, axis=1))
