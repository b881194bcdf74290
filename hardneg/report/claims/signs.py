"""Sign tests: whether something happens more often than not."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import special


def sign_test(times: int, of: int) -> float:
    """The one-sided p-value of at least `times` of `of`, where each has a chance of one half; 1 for none of none."""
    return float(special.bdtrc(times - 1, of, 0.5)) if times else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction, as in `hardneg.evaluation.measures.holm`."""
    from hardneg.evaluation import measures

    return list(map(float, measures.holm(list(p_values))))
