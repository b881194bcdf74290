"""What a system is trained with, and what it starts from."""

from __future__ import annotations

import pandas as pd

from hardneg.report.material import Material


def kinds(systems: pd.DataFrame) -> dict[str, str]:
    """What each system is trained with, read from its answers and never from its name.

    Args:
        systems: as `Material.systems`.

    Returns:
        by system: `random` (drawn from the collection, or the batch alone), `static hard` (a mined ranking alone),
        `STAR` (that of a trained system, and the batch), `ADORE` (the live index, lambda-weighted), `dynamic` (the live
        index, otherwise), `other`. Of the first two, those that train nothing else end with ` (query encoder)`.
    """
    return {
        str(row["system"]): _kind({str(key): str(value) for key, value in row.items()}) for _, row in systems.iterrows()
    }


def of_kind(material: Material, *wanted: str) -> list[str]:
    """The systems of some kinds, in order."""
    return [system for system, kind in kinds(material.systems).items() if kind in wanted]


def starts(material: Material) -> dict[str, str]:
    """What each system starts from; those that start from nothing, or are served by another index, are left out."""
    given = material.systems[["system", "starts_from", "index"]].fillna("")
    index = dict(zip(given["system"], given["index"], strict=True))
    return {
        system: start for system, start, own in given.itertuples(index=False) if start and index.get(start, own) == own
    }


def _kind(row: dict[str, str]) -> str:
    source = row["source"].split(" ")[0]
    if source == "live":
        return "ADORE" if row["loss"] == "lambda_ranknet" else "dynamic"
    end = "" if row["trains"].startswith("both") else " (query encoder)"
    in_batch = row["batch"] == "in_batch"
    if source == "random" or (source == "none" and in_batch):
        return f"random{end}"
    if source in ("run", "self") and not in_batch:
        return f"static hard{end}"
    return "STAR" if source == "run" and row["starts_from"] not in ("", "nan", "None") else "other"
