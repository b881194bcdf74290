"""The best passages of each query so far, in FAISS's heaps."""

from __future__ import annotations

from typing import Any

import faiss
import torch

from hardneg.retrieval.search.keys import LAST_POSITION, LOWEST, pack

EMPTY = -1


class Heaps:
    """A heap for each query. In it are the passages with the highest scores that were added, at most `size`.

    The worst is replaced by a passage with a higher score. FAISS takes that with the lowest id for the worst where
    scores are equal. So the ids are `LAST_POSITION` less the positions, and passages are added by rising position: then
    ties go to the lower position.

    Args:
        n: queries.
        size: of a heap, at least 1.
    """

    def __init__(self, n: int, size: int) -> None:
        self._scores = torch.full((n, size), -torch.inf)
        self._ids = torch.full((n, size), EMPTY)
        self._heaps: Any = faiss.float_minheap_array_t()
        self._heaps.nh, self._heaps.k = n, size
        self._heaps.val, self._heaps.ids = faiss.swig_ptr(self._scores.numpy()), faiss.swig_ptr(self._ids.numpy())

    def leave_out(self, below: torch.Tensor) -> None:
        """Add no scores below the float32 numbers [n, 1] from now on. Called before any are added."""
        self._scores.copy_(below - below.abs() * 2.0**-20 - torch.finfo(torch.float32).tiny)

    def add(self, scores: torch.Tensor, first: int) -> None:
        """Add passages: scores [n, columns] of any float, where the first column is of position `first`."""
        given = scores.float().contiguous().numpy()
        ids = torch.arange(LAST_POSITION - first, LAST_POSITION - first - given.shape[1], -1).numpy()
        self._heaps.addn_with_ids(given.shape[1], faiss.swig_ptr(given), faiss.swig_ptr(ids), 0, 0, len(given))

    def keys(self) -> torch.Tensor:
        """Keys [n, size], in no particular order; LOWEST fills heaps. What is -inf or not a number is in none."""
        return torch.where(self._ids > EMPTY, pack(self._scores, LAST_POSITION - self._ids), LOWEST)
