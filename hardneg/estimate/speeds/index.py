"""FAISS indexes other than Flat."""

from __future__ import annotations

from collections.abc import Sequence

from hardneg.estimate.speeds.clock import timed
from hardneg.estimate.speeds.measured import Compressed


def compressed(factory: str, dim: int, searches: Sequence[tuple[int, int]], rows: int) -> Compressed | None:
    """Measure a small index of random vectors; None if it needs more vectors for training.

    Raises:
        HardnegError: the factory string is wrong.
    """
    import numpy as np

    from hardneg.retrieval.search.factory import new_index

    index = new_index(factory, dim)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, dim), np.float32)
    try:
        train = timed(lambda: index.train(vectors))
        add = timed(lambda: index.add(vectors))
    except RuntimeError:
        return None
    search = {}
    for batch, k in searches:
        queries = rng.standard_normal((batch, dim), np.float32)
        search[batch, k] = rows / timed(lambda queries=queries, k=k: index.search(queries, min(k, rows)))  # type: ignore[misc]
    return Compressed(rows / train, rows / add, search)
