"""Timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes, at least a microsecond."""
    started = time.perf_counter()
    work()
    return max(time.perf_counter() - started, 1e-6)


def repeated(work: Callable[[], object], seconds: float) -> float:
    """Mean seconds of a piece of work: done once as a warm-up, then repeated for `seconds`."""
    work()
    spent, times = 0.0, 0
    while spent < seconds:
        spent += timed(work)
        times += 1
    return spent / times


def affine(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Fixed seconds, and seconds per unit, from two measurements. Neither is negative."""
    slope = max(0.0, (seconds[1] - seconds[0]) / (amounts[1] - amounts[0]))
    return max(0.0, seconds[1] - slope * amounts[1]), slope
