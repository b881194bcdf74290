"""Joined collections in training: each step takes its queries from one of them, drawn by weight.

The collection of a step depends on the seed and the step's number alone, so a resumed training draws the same. Within a
collection, the order answer sees a training on it alone: its first batch there, its second, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hardneg.data.members import Member
from hardneg.errors import HardnegError
from hardneg.methods.draws import Positions, TrainingQueries

AT_ONCE = 4096
"""Steps whose collections are drawn together."""


class Members:
    """Which collection gives the queries of each step.

    Args:
        members: the collections.
        split: the training split.
        weights: by name; `equal`; or `queries`, which weighs each by its training queries.
        queries: all training queries, cut up by collection here.

    Raises:
        HardnegError: a collection has no training query with a relevant passage.
    """

    def __init__(
        self, members: Sequence[Member], split: str, weights: str | Mapping[str, float], queries: TrainingQueries
    ) -> None:
        self.names = [member.name for member in members]
        self.queries = [_within(queries, member.queries[split]) for member in members]
        counts = [len(own.positions) for own in self.queries]
        for name, count in zip(self.names, counts, strict=True):
            if not count:
                raise HardnegError(
                    "A collection to train on has no query with a relevant passage.",
                    where=f"collection.parts, {name}, split {split}",
                    remedy="check its judgements, or remove it.",
                )
        chosen = np.array(counts if weights == "queries" else [1] * len(counts), np.float64)
        if isinstance(weights, Mapping):
            chosen = np.array([weights[name] for name in self.names], np.float64)
        self.chances: npt.NDArray[np.float64] = chosen / chosen.sum()
        self._seed, self._drawn = queries.seed, np.empty(0, np.int64)

    def at(self, step: int) -> tuple[int, int]:
        """The collection of a step, from 0, and how many earlier steps had it too."""
        drawn = self.first(step + 1)
        return int(drawn[step]), int((drawn[:step] == drawn[step]).sum())

    def first(self, steps: int) -> Positions:
        """The collection of each of the first steps: int64 [steps]."""
        while len(self._drawn) < steps:
            random = np.random.default_rng([self._seed, len(self._drawn) // AT_ONCE, 7]).random(AT_ONCE)
            place = np.searchsorted(np.cumsum(self.chances), random, side="right")
            self._drawn = np.append(self._drawn, np.minimum(place, len(self.names) - 1))
        return self._drawn[:steps]

    def counts(self, first: int, end: int) -> dict[str, int]:
        """How many of the steps `first` to `end` (exclusive) each collection gave."""
        drawn = np.bincount(self.first(end)[first:], minlength=len(self.names))
        return dict(zip(self.names, drawn.tolist(), strict=True))

    def told(self, first: int, end: int) -> list[str]:
        """A line for each collection: its queries, its chance, and the steps that it gives."""
        steps = self.counts(first, end)
        return [
            f"{name}: {len(own.positions):,} training queries, {chance:.1%} of the batches by weight, "
            f"{steps[name]:,} of steps {first + 1:,} to {end:,}"
            for name, own, chance in zip(self.names, self.queries, self.chances, strict=True)
        ]


def ranges_of(members: Sequence[Member], split: str, queries: int) -> Positions:
    """The passages of each query's collection: int64 [queries, 2], the first and their number."""
    ranges = np.zeros((queries, 2), np.int64)
    for member in members:
        own = member.queries[split]
        ranges[own.start : own.stop] = member.passages.start, len(member.passages)
    return ranges


def _within(queries: TrainingQueries, own: range) -> TrainingQueries:
    """The training queries at some positions."""
    inside = (queries.positions >= own.start) & (queries.positions < own.stop)
    topics = queries.topics[inside] if queries.topics is not None else None
    return queries._replace(positions=queries.positions[inside], topics=topics)
