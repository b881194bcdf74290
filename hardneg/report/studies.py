"""Several studies side by side: their systems on each collection, and the mean over collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from hardneg.config import Config
from hardneg.config.elsewhere import MEAN
from hardneg.errors import HardnegError
from hardneg.evaluation.expected import read_measures
from hardneg.evaluation.measure_names import lower_is_better, meaning
from hardneg.report.content import LOWER
from hardneg.report.page import page_environment, table
from hardneg.report.text import by_system, collections_text, main_split
from hardneg.stages.artifacts import atomic_path

DIFFERING = ("encoder", "bm25", "arithmetic")
"""Settings that a study has once for all its systems, and that the comparison of a system concerns."""


@dataclass(frozen=True)
class Studies:
    """What several studies found.

    Attributes:
        scores: collection, split, system, measure, value; the last rows are those of the collection `MEAN`, for systems
            that every study has.
        measures: those that every study has, in the order of the first one; its main measure comes first.
        notes: sentences on what is not alike.
    """

    scores: pd.DataFrame
    measures: Sequence[str]
    notes: Sequence[str]


def read_studies(configs: Sequence[Config], results: Path) -> Studies:
    """Read the scores of finished studies.

    Args:
        configs: of the studies, two or more, each on a collection of its own.
        results: the folder of all results.

    Raises:
        HardnegError: there is one study only, two have the same collection's name, one has no scores, or they have no
            measure in common.
    """
    names = [config.collection.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise HardnegError(
            "A comparison needs several studies, each on a collection of its own.",
            where="--configfile",
            found=", ".join(names),
            expected="two or more different collection.name",
            remedy="name them: --configfile nfcorpus.yaml scifact.yaml; `collection.name` tells them apart.",
        )
    parts = [_scores(config, results) for config in configs]
    shared = [name for name in configs[0].evaluation.measures if all(name in set(part["measure"]) for part in parts)]
    if not shared:
        raise HardnegError(
            "The studies have no measure in common.",
            where="evaluation.measures",
            found="; ".join(
                f"{name}: {', '.join(part['measure'].unique())}" for name, part in zip(names, parts, strict=True)
            ),
            remedy="measure one on all of them; only measuring runs again.",
        )
    main = configs[0].evaluation.main_measure
    shared.sort(key=lambda name: name != main)
    each = pd.concat(parts, ignore_index=True)
    each = each[each["measure"].isin(shared)]
    counted = each.groupby(["system", "measure"], sort=False)["value"].agg(["mean", "size"]).reset_index()
    everywhere = counted[counted["size"] == len(configs)]
    mean = everywhere.rename(columns={"mean": "value"}).drop(columns="size").assign(collection=MEAN, split="")
    notes = _missing(each, names) + _unlike(configs)
    return Studies(pd.concat([each, mean[each.columns]], ignore_index=True), shared, notes)


def _scores(config: Config, results: Path) -> pd.DataFrame:
    """The scores of one study, on the split that ranks its systems."""
    found = read_measures(results / config.collection.name / "measures.csv")
    known = set(config.splits.evaluate)
    rows = [(split, system, measure, value) for (system, split, measure), value in found.items() if split in known]
    table = pd.DataFrame(rows, columns=["split", "system", "measure", "value"])
    table = table[table["system"].isin(config.systems)]
    return table[table["split"] == main_split(table)].assign(collection=config.collection.name)


def _missing(each: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Sentences on systems that not every study has."""
    notes = []
    for system, rows in each.groupby("system", sort=False):
        lacking = [name for name in names if name not in set(rows["collection"])]
        if lacking:
            notes.append(f"{system} has no mean: it is not in the study of {', '.join(lacking)}.")
    return notes


def _unlike(configs: Sequence[Config]) -> list[str]:
    """Sentences on systems of one name that the studies configure in different ways."""
    notes = []
    first = configs[0]
    for key in DIFFERING:
        if other := [config.collection.name for config in configs[1:] if getattr(config, key) != getattr(first, key)]:
            notes.append(f"`{key}` of {', '.join(other)} is not that of {first.collection.name}.")
    for name in first.systems:
        there = [config for config in configs[1:] if name in config.systems]
        if other := [each.collection.name for each in there if each.systems[name] != first.systems[name]]:
            notes.append(f"{name} has other settings in {', '.join(other)} than in {first.collection.name}.")
    return notes


def as_text(studies: Studies) -> str:
    """The main measure on each collection and its mean, as an aligned table; and the notes."""
    return "\n\n".join([collections_text(studies.scores, studies.measures[0]), *studies.notes])


def write_page(studies: Studies, path: Path) -> None:
    """Write all measures as one HTML page that loads nothing else."""
    tables = []
    for measure in studies.measures:
        rows = studies.scores[studies.scores["measure"] == measure]
        wide = by_system(rows.assign(measure=rows["collection"], split=measure), measure).reset_index(names="system")
        wide.columns = [
            name if name == "system" else f"{name} {measure}{LOWER if lower_is_better(measure) else ''}"
            for name in wide.columns
        ]
        tables.append((measure, meaning(measure), table(wide, dict.fromkeys(wide.columns[1:], 4))))
    style = resources.files("hardneg").joinpath("templates", "report.css").read_text("utf-8")
    splits = studies.scores[studies.scores["collection"] != MEAN].drop_duplicates("collection")
    page = (
        page_environment()
        .get_template("studies.html")
        .render(
            style=Markup(style),
            splits=dict(zip(splits["collection"], splits["split"], strict=True)),
            tables=tables,
            notes=studies.notes,
            shown_rows=len(studies.scores),
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
