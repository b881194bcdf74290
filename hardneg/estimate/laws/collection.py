"""Preparing the collection."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, over
from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

DIGESTS_BYTES = 24
"""Of a query: the digest of its text, and of those of its split when they are compared with the training queries'."""

KEPT_BYTES = 112
"""Of a passage: hashes of its id, digests of its texts and positions. While they are sorted, they are there twice."""


class Collection(Law):
    """Reading the texts and writing them as Parquet."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The digest of each query's text, several times; what is kept of passages is on disk."""
        return sizes.base_bytes + sizes.queries * DIGESTS_BYTES

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most the uncompressed text."""
        return round(sizes.characters)

    def scratch(self, stage: Stage, sizes: Sizes) -> int:
        """What is kept of each passage until the end."""
        return sizes.counts.passages * KEPT_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Characters / rate."""
        return over(sizes.characters, measured.prepare)
