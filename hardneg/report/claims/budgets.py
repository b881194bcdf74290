"""What two systems were given to train with, in words."""

from __future__ import annotations

import pandas as pd

from hardneg.report.material import Material

BUDGETS = (
    "Queries met, passages encoded (in training, and the collection where mining or an index needed it) and "
    "device-seconds: of training, with all systems that a system builds on; a dash where unknown."
)


def budgets(material: Material) -> pd.DataFrame:
    """Of each system with all it builds on: queries met, passages encoded, device-seconds; by system."""
    costs = material.training_costs.set_index("system")
    return pd.DataFrame(
        {
            "queries met": costs["whole_queries"],
            "passages encoded": costs["whole_encoded"],
            "device-seconds": 3600 * costs["whole_device_hours"].where(costs["whole_device_hours"] > 0),
        }
    )


def compared(material: Material, system: str, other: str) -> str:
    """The budgets of two systems as a clause; an empty text where one needs no training."""
    given = budgets(material)
    if system not in given.index or other not in given.index:
        return ""
    ours, theirs = given.loc[system], given.loc[other]
    parts: list[str] = []
    for what in ("queries met", "passages encoded"):
        if pd.isna(ours[what]) or pd.isna(theirs[what]):
            parts.append(f"{what} unknown")
        elif ours[what] != theirs[what]:
            parts.append(f"{what} {ours[what]:,.0f} against {theirs[what]:,.0f}")
    return (
        f"at unequal budgets, {', '.join(parts)}"
        if parts
        else f"at equal budgets, {ours['queries met']:,.0f} queries met"
    )
