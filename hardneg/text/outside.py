"""Texts outside the collection, which training reads as further passages.

The collection's passages have the positions 0 to passages - 1, and these texts those that follow. So they are drawn,
encoded and compared as passages are, but never indexed, searched, evaluated or counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardneg.stages.artifacts import Artifact
from hardneg.text.pairs import PairStore
from hardneg.text.tokens import TokenStore

ROLE = "outside"
"""The parent of a training that holds their tokens."""


class JoinedTokens(TokenStore):
    """The tokens of several stores as one, their positions one after the other.

    Args:
        stores: at least one; all of one tokenizer.
    """

    def __init__(self, stores: Sequence[TokenStore]) -> None:
        self._stores = stores
        self._starts = np.cumsum([0, *map(len, stores)])
        self.prefix, self.suffix, self.pad = stores[0].prefix, stores[0].suffix, stores[0].pad
        self.longest = max(store.longest for store in stores)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """See `TokenStore`."""
        lengths = np.zeros(len(positions), np.int64)
        for rows, store, within in self._parts(positions):
            lengths[rows] = store.lengths(within)
        return lengths

    def body(self, position: int) -> np.ndarray:
        """See `TokenStore`."""
        ((_, store, within),) = self._parts(np.array([position]))
        return store.body(int(within[0]))

    def batch(self, positions: Sequence[int] | np.ndarray, multiple: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """See `TokenStore`."""
        positions = np.asarray(positions)
        parts = [(rows, *store.batch(within, multiple)) for rows, store, within in self._parts(positions)]
        width = max(ids.shape[1] for _, ids, _ in parts)
        ids, mask = np.full((len(positions), width), self.pad, np.int64), np.zeros((len(positions), width), np.int64)
        for rows, some_ids, some_mask in parts:
            ids[rows, : some_ids.shape[1]], mask[rows, : some_mask.shape[1]] = some_ids, some_mask
        return ids, mask

    def _parts(self, positions: np.ndarray) -> list[tuple[np.ndarray, TokenStore, np.ndarray]]:
        """Rows of `positions`, the store that holds them, and their positions in it."""
        which = np.searchsorted(self._starts, positions, side="right") - 1
        rows_of = [(np.flatnonzero(which == number), store) for number, store in enumerate(self._stores)]
        starts = self._starts
        return [
            (rows, store, positions[rows] - starts[number]) for number, (rows, store) in enumerate(rows_of) if len(rows)
        ]


def passage_store(parents: Mapping[str, Artifact], longest: int | None) -> TokenStore:
    """All passages that a training can meet: the collection's, then those of the role `outside`, where there is one.

    Args:
        parents: of a training stage.
        longest: truncate texts to this many tokens; see `TokenStore`.
    """
    stores = [TokenStore(parents[role], "passages", longest) for role in ("tokens", ROLE) if role in parents]
    return stores[0] if len(stores) == 1 else JoinedTokens(stores)


class TrainingPairs(PairStore):
    """Pairs of a split's queries and all passages that a training of a cross-encoder can meet.

    Args:
        parents: of a training stage.
        split: the split of the queries.
        lengths: see `PairStore`.
    """

    def __init__(self, parents: Mapping[str, Artifact], split: str, lengths: Mapping[str, Any]) -> None:
        super().__init__(parents["tokens"], split, lengths)
        self._passages = passage_store(parents, lengths["passage_length"])
