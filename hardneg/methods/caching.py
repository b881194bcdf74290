"""A cache of passages, with vectors that are renewed as training meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from hardneg.methods.draws import Positions, Scores


class NegativeCache:
    """The cache; see `hardneg.methods.draws.Source` and `Stateful`.

    Attributes:
        passages: int64 [size].
        vectors: float32 [size, dim].
        age: int64 [size], steps since a passage was last encoded.
        staleness: the mean of |cached - new|^2 / |new|^2 over what the last step renewed; NaN before.
    """

    ranked = False

    def __init__(self, passages: Positions, temperature: float) -> None:
        self.passages, self._temperature = passages, temperature
        self.vectors = np.zeros((len(passages), 0), np.float32)
        self.age = np.zeros(len(passages), np.int64)
        self.staleness = float("nan")

    def start(self, encode: Callable[[Positions], torch.Tensor]) -> None:
        """Fill it with the vectors of its passages."""
        self.vectors = encode(self.passages).float().cpu().numpy()

    def of(self, queries: Positions, vectors: object) -> CacheOfStep:
        """The cache, ordered by the scores of the queries, whose vectors are float32 [B, dim]."""
        asked = vectors.detach().float().cpu().numpy()  # type: ignore[attr-defined]
        return CacheOfStep(self.passages, asked @ self.vectors.T / self._temperature)

    def met(self, positives: Positions, negatives: Positions, encoded: Mapping[int, np.ndarray]) -> None:
        """Take over what a step encoded.

        Args:
            positives: passages that join the cache.
            negatives: passages that were drawn from it.
            encoded: the new vectors of both.
        """
        self.age += 1
        slots = np.flatnonzero(np.isin(self.passages, negatives))
        if len(slots):
            new = np.stack([encoded[int(passage)] for passage in self.passages[slots]])
            moved = ((self.vectors[slots] - new) ** 2).sum(1) / (new**2).sum(1)
            self.staleness = float(moved.mean())
            self.vectors[slots], self.age[slots] = new, 0
        fresh = np.setdiff1d(positives, self.passages)
        oldest = np.argsort(-self.age, kind="stable")[: len(fresh)]
        for slot, passage in zip(oldest, fresh, strict=False):
            self.passages[slot], self.vectors[slot], self.age[slot] = passage, encoded[int(passage)], 0

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps."""
        return {"passages": self.passages, "vectors": self.vectors, "age": self.age}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what a checkpoint kept."""
        self.passages, self.vectors, self.age = (state[name].copy() for name in ("passages", "vectors", "age"))


class CacheOfStep:
    """The cache for the queries of a step; see `hardneg.methods.draws.Candidates`.

    Args:
        passages: int64 [size].
        scores: float32 [B, size], over the temperature.
    """

    def __init__(self, passages: Positions, scores: Scores) -> None:
        self._passages = passages
        self._order = np.argsort(-scores, axis=1, kind="stable")
        self._scores = np.take_along_axis(scores, self._order, 1)
        self.mass = np.logaddexp.reduce(self._scores.astype(np.float64), axis=1).astype(np.float32)

    def available(self, k: int | None) -> Positions:
        """The whole cache, at most `k`."""
        size = len(self._passages) if k is None else min(k, len(self._passages))
        return np.full(len(self._order), size, np.int64)

    def at(self, ranks: Positions) -> Positions:
        """The passages at some ranks."""
        return self._passages[np.take_along_axis(self._order, ranks, 1)]

    def scores(self, ranks: Positions) -> Scores:
        """Their scores by the cached vectors."""
        return np.take_along_axis(self._scores, ranks, 1)
