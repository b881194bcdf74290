"""Mined candidates."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, over
from hardneg.estimate.laws.sizes import POSITION_BYTES, RUN_ROW_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

TAUGHT_BYTES = 3 * 8 + 4
"""Of a scored pair: its columns, its key, the order of the keys and the score."""


class Mine(Law):
    """Taking candidates from a run of the training queries."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The judgements of the training split, and the scores that teachers gave, as they are sorted."""
        taught = sum(role.startswith("teacher.") for role in stage.parents)
        pairs = taught * (mined_rows(stage, sizes) + sizes.training_queries)
        return sizes.base_bytes + 2 * POSITION_BYTES * sizes.training_queries + TAUGHT_BYTES * pairs

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """At most as much as the run."""
        return mined_rows(stage, sizes) * RUN_ROW_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Rows of the run / rate."""
        return over(mined_rows(stage, sizes), measured.run_rows)


def mined_rows(stage: Stage, sizes: Sizes) -> int:
    """Rows of the run that a stage mines."""
    return sizes.run_rows(stage.parents["run"])
