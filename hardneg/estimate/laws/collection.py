"""Preparing the collection."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, over
from hardneg.estimate.laws.sizes import ID_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage


class Collection(Law):
    """Reading the texts and writing them as Parquet."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """An id for each passage."""
        return sizes.base_bytes + sizes.counts.passages * ID_BYTES

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most the uncompressed text."""
        return round(sizes.characters)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Characters / rate."""
        return over(sizes.characters, measured.prepare)
