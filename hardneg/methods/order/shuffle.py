"""The training queries in random order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions, TrainingQueries


class Shuffle(Answer):
    """Queries in random order; every epoch is a new permutation."""

    name: Literal["shuffle"] = "shuffle"


def rows(queries: TrainingQueries, step: int) -> Positions:
    """The queries of a step: consecutive entries of an endless stream of permutations, one an epoch: int64 [B]."""
    import numpy as np

    taken = []
    at, wanted = step * queries.batch_size, queries.batch_size
    while wanted:
        epoch, inside = divmod(at, len(queries.positions))
        rng = np.random.default_rng([queries.seed, epoch, 1])
        part = rng.permutation(queries.positions)[inside : inside + wanted]
        taken.append(part)
        at, wanted = at + len(part), wanted - len(part)
    return np.concatenate(taken)
