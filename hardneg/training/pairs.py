"""Which passages meet which queries at a step of training with static negatives; encoding them is another's business.

What a step takes depends on its number and the seed alone, so that it can be replayed after the training, to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hardneg.axes import function_of
from hardneg.data.judgements import Judgements
from hardneg.negatives.sources import Candidates
from hardneg.training.loop import generator, rows_of_step


class StepPairs(NamedTuple):
    """The score matrix of a step, B queries by C columns: all rows' positives, then all rows' negatives.

    Attributes:
        rows: [B] query positions.
        columns: [C] passage positions; a row that has too few negatives repeats its positive there.
        in_batch: [B, C] pairs of a query and another row's positive that the batch answer compares.
        hard: [B, C] pairs of a query and a drawn negative that it compares.
        judged: [B, C] pairs that are judged relevant, which no loss may compare.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    in_batch: npt.NDArray[np.bool_]
    hard: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]


class StaticPairs:
    """The pairs of every step.

    Args:
        candidates: what negatives are drawn from; None where the batch alone supplies them.
        settings: of the training stage: `sampler`, `batch`, `train`, `seed`.
        judged: the training judgements.
    """

    def __init__(self, candidates: Candidates | None, settings: Mapping[str, Any], judged: Judgements) -> None:
        self._candidates, self._judged = candidates, judged
        self._sample, self._columns_of = (function_of(axis, settings[axis]) for axis in ("sampler", "batch"))
        self._batch_size, self._seed = settings["train"]["batch_size"], settings["seed"]
        self.trainable = judged.with_positives()

    @classmethod
    def of(cls, settings: Mapping[str, Any], negatives: Path | None, judged: Judgements, passages: int) -> Self:
        """Of a training stage's settings and its mined lists; `passages` is how many the collection has."""
        queries = len(judged.offsets) - 1
        return cls(function_of("source", settings["source"])(negatives, queries, passages), settings, judged)

    def at(self, step: int) -> StepPairs:
        """The pairs of a step, from 0."""
        rng = generator(self._seed, step)
        rows = rows_of_step(self.trainable, step, self._batch_size, self._seed)
        positives = self._judged.draw(rows, rng)
        if self._candidates is None:
            drawn = np.empty((len(rows), 0), np.int64)
        else:
            drawn = self._sample(self._candidates, rows, rng)
        in_batch, hard = self._columns_of(len(rows), drawn.shape[1])
        columns = np.concatenate((positives, np.where(drawn < 0, positives[:, None], drawn).ravel()))
        there = np.concatenate((np.ones(len(rows), bool), (drawn >= 0).ravel()))
        return StepPairs(
            rows, columns, in_batch & there, hard & there, self._judged.contains(rows[:, None], columns[None, :])
        )
