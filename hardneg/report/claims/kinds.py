"""The kind of negatives of a system, and its starting system."""

from __future__ import annotations

import pandas as pd

from hardneg.report.material import Material


def kinds(systems: pd.DataFrame) -> dict[str, str]:
    """The kind of negatives each system is trained with, derived from its answers, never from its name.

    Args:
        systems: the table `Material.systems`.

    Returns:
        The kind by system:

        * `random`: negatives from the whole collection, or only from the batch;
        * `static hard`: only a mined ranking;
        * `STAR`: a trained system's ranking and the batch;
        * `ADORE`: the live index with lambda weights;
        * `dynamic`: the live index with another loss;
        * `other`.

        If only the query encoder is trained, the first two end with ` (query encoder)`.
    """
    return {
        str(row["system"]): _kind({str(key): str(value) for key, value in row.items()}) for _, row in systems.iterrows()
    }


def of_kind(material: Material, *wanted: str) -> list[str]:
    """The systems of the given kinds, in the order of the report."""
    return [system for system, kind in kinds(material.systems).items() if kind in wanted]


def starts(material: Material) -> dict[str, str]:
    """The starting system of each system. Leaves out systems without one, and those served on a different index."""
    answers = material.systems[["system", "starts_from", "index"]].fillna("")
    index = dict(zip(answers["system"], answers["index"], strict=True))
    return {
        system: start
        for system, start, own in answers.itertuples(index=False)
        if start and index.get(start, own) == own
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
