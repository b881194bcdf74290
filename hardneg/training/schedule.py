"""Refresh axis: which optimizer steps a stage runs. Budgets are resolved here, where the number of queries is known."""

from __future__ import annotations

import math

from hardneg.errors import HardnegError


def total_steps(steps: int | None, epochs: float | None, queries: int, batch_size: int) -> int:
    """Optimizer steps of a whole training run: given, or enough to pass `epochs` times over the queries."""
    return steps if steps is not None else max(1, math.ceil((epochs or 0) * queries / batch_size))


def planned_steps(planned: int | None, total: int) -> int:
    """The steps over which the learning rate falls: `planned` where the schedule is cut short, else all that are run.

    Raises:
        HardnegError: the schedule would end before the training, which would go on with a learning rate of 0.
    """
    if planned is not None and planned < total:
        raise HardnegError(
            "The learning-rate schedule ends before the training.",
            where="train.schedule_steps",
            found=f"{planned:,} steps of schedule for {total:,} of training",
            expected=f"at least {total:,}",
            remedy="raise train.schedule_steps, or remove it.",
        )
    return total if planned is None else planned


def one_round(total: int, number: int) -> tuple[int, int]:
    """`never` and `every_step`: the stage runs all steps."""
    return 0, total


def equal_rounds(total: int, number: int, *, rounds: int) -> tuple[int, int]:
    """`rounds`: first step and end step of round `number` (from 1), at equal distances over all steps."""
    return (number - 1) * total // rounds, number * total // rounds
