"""Whether a few queries hold more of one system's errors than of another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

HARDEST, RESAMPLES, LEVEL = 0.05, 2000, 0.05
_AT_ONCE = 100


class Concentration(NamedTuple):
    """The shares of the hardest queries, in percent, and the interval of their difference, `share` minus `other`."""

    system: str
    share: float
    other: float
    low: float
    high: float


def concentration(errors: pd.DataFrame, system: str, others: Sequence[str], seed: int = 0) -> list[Concentration]:
    """Compare the share of a system's errors on its hardest 5% of queries with that of others.

    The intervals are percentiles of a bootstrap over queries, drawn once for all systems. Together they hold with 95%
    (Bonferroni's correction over the others).

    Args:
        errors: the errors of each query (rows) by system (columns).
        system: the one that is compared.
        others: those that it is compared with.
        seed: of the bootstrap.
    """
    if not others:
        return []
    names, generator = [system, *others], np.random.default_rng(seed)
    counted = errors[names].to_numpy(np.float64)
    drawn = []
    for start in range(0, RESAMPLES, _AT_ONCE):
        rows = generator.integers(0, len(counted), (min(_AT_ONCE, RESAMPLES - start), len(counted)))
        drawn.append(np.stack([_share(counted[rows, place]) for place in range(len(names))]))
    whole, resampled = _share(counted.T), np.concatenate(drawn, axis=1)
    tail = LEVEL / len(others) / 2
    bounds = np.quantile(resampled[0] - resampled[1:], [tail, 1 - tail], axis=1)
    return [
        Concentration(name, float(whole[0]), float(whole[place]), *map(float, bounds[:, place - 1]))
        for place, name in enumerate(others, 1)
    ]


def _share(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The percentage of errors on the hardest queries: [n, queries] to [n]; 0 where there is no error."""
    hardest = max(1, round(HARDEST * errors.shape[1]))
    held = np.partition(errors, -hardest, axis=1)[:, -hardest:].sum(1)
    share: npt.NDArray[np.float64] = 100 * held / np.maximum(errors.sum(1), 1)
    return share
