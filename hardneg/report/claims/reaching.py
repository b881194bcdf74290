"""When a system first has the score of another."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

from hardneg.report.claims.values import measured
from hardneg.report.material import Material


def seconds_to_reach(material: Material, baseline: str) -> dict[str, float]:
    """Seconds of training, mining and encoding, in total, until each system has the score of a baseline at its end.

    The score is the mean of the main measure on the analysed split. A system has a score at its end; one that
    `analyses.trajectory` follows has one at every evaluation too, between which its seconds are spread evenly over its
    steps. Where what a system starts from has the score already, its time counts.

    Args:
        material: of the report.
        baseline: the name of a system.

    Returns:
        By trained system; NaN where it never has that score. Empty if the baseline was not measured.
    """
    values = measured(material, material.analysis_split, material.main_measure)
    if baseline not in values:
        return {}
    costs = {str(row["system"]): row for row in material.training_costs.to_dict("records")}
    found: dict[str, float] = {}

    def reach(system: str) -> float:
        if system not in found:
            own, start = costs[system], costs[system]["starts_from"]
            before = reach(start) if start in costs else math.nan
            found[system] = _within(material, own, float(values[baseline])) if math.isnan(before) else before
        return found[system]

    for system in costs:
        reach(system)
    return found


def _within(material: Material, own: Mapping[Hashable, Any], score: float) -> float:
    """The total seconds until a system has a score during its own training, or at its end; else NaN."""
    if material.trajectory is not None:
        rows = material.trajectory
        rows = rows[(rows["system"] == own["system"]) & (rows["name"] == material.main_measure)]
        enough = rows[rows["value"] >= score]
        if len(enough):
            share = enough["step"].min() / max(rows["step"].max(), 1)
            return float(own["whole_seconds"] - own["seconds"] * (1 - share))
    values = measured(material, material.analysis_split, material.main_measure)
    return float(own["whole_seconds"]) if values.get(own["system"], -math.inf) >= score else math.nan
