"""Refresh axis: which optimizer steps a stage runs. Budgets are resolved here, where the number of queries is known."""

from __future__ import annotations

import math


def total_steps(steps: int | None, epochs: float | None, queries: int, batch_size: int) -> int:
    """Optimizer steps of a whole training run: given, or enough to pass `epochs` times over the queries."""
    return steps if steps is not None else max(1, math.ceil((epochs or 0) * queries / batch_size))


def one_round(total: int, number: int) -> tuple[int, int]:
    """`never` and `every_step`: the stage runs all steps."""
    return 0, total


def equal_rounds(total: int, number: int, *, rounds: int) -> tuple[int, int]:
    """`rounds`: first step and end step of round `number` (from 1), at equal distances over all steps."""
    return (number - 1) * total // rounds, number * total // rounds
