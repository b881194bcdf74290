"""Budgets and random numbers of steps. Budgets are resolved here, where the number of queries is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hardneg.errors import HardnegError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from hardneg.stages.artifacts import Artifact

BEFORE = "queries_before"
"""The fact of a training that begins behind the queries that others met: how many of the order it passes over."""


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


def queries_before(train: Mapping[str, Any], parents: Mapping[str, Artifact]) -> int:
    """How many of the first queries of the order a training passes over.

    They are those that its start has met, and those that the start itself passed over.

    Args:
        train: the `train` settings. Without `new_queries` none is passed over.
        parents: of the training: `init`, what it starts from, or `continues`, its own last round.
    """
    if not train.get("new_queries"):
        return 0
    if "continues" in parents:
        return int(parents["continues"].facts.get(BEFORE, 0))
    start = parents.get("init")
    if start is None or "steps" not in start.facts:  # weights that this workflow has not trained
        return 0
    own = (start.facts["first_step"] + start.facts["steps"]) * start.settings["train"]["batch_size"]
    return int(start.facts.get(BEFORE, 0) + own)


def generator(seed: int, step: int, purpose: int = 0) -> np.random.Generator:
    """Random numbers for one step: the same for the same seed, step and purpose."""
    import numpy as np  # the laws of the estimate read this module at every start, and need no numbers

    return np.random.default_rng([seed, step, purpose])
