"""Looks at trainings: at each of them two systems, or a system and its start, are compared query by query."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from hardneg.report.claims.differences import LEVEL


class Looks(NamedTuple):
    """Paired t-tests at every look after the first, with Holm's correction over the looks.

    Attributes:
        above: at how many of them the first is above the second.
        clearly_above: significantly.
        below: at how many it is below.
        clearly_below: significantly.
        looks: how many there are after the first.
        ends: at the last, 1 where it is significantly above, -1 where it is significantly below, else 0.
    """

    above: int
    clearly_above: int
    below: int
    clearly_below: int
    looks: int
    ends: int


def with_start(values: pd.DataFrame) -> Looks:
    """A system at each look against itself at the first.

    Args:
        values: [queries, looks], columns in order of time.
    """
    first = values.columns[0]
    return _tested([(values[look], values[first]) for look in values.columns[1:]])


def of_two(values: pd.DataFrame, others: pd.DataFrame) -> Looks:
    """A system against another at each look that both have, but the first.

    Args:
        values: [queries, looks] of the system, columns in order of time.
        others: the same of the other.
    """
    both = [look for look in values.columns if look in others.columns][1:]
    return _tested([(values[look], others[look]) for look in both])


def _tested(pairs: list[tuple[pd.Series, pd.Series]]) -> Looks:
    from hardneg.evaluation.measures import compare, holm

    found = [compare(ours, theirs, resamples=0) for ours, theirs in pairs]
    p_values = [float(p) for p in holm([each.p_t for each in found])] if found else []
    signs = [1 if each.difference > 0 else -1 if each.difference < 0 else 0 for each in found]
    clear = [sign if p < LEVEL else 0 for sign, p in zip(signs, p_values, strict=True)]
    ends = clear[-1] if clear else 0
    return Looks(signs.count(1), clear.count(1), signs.count(-1), clear.count(-1), len(found), ends)
