"""Run studies of the paper's tables and figures with several seeds, and write what shows, item by item.

    python -m benchmarks.paper --configfile configs/paper.yaml --output docs/paper.md
    python -m benchmarks.paper --configfile configs/figure4.yaml --items figure4a figure4b --output docs/figure4.md

Each seed is a run of the workflow in this checkout; what is finished is kept, so the command resumes. The page has the
verdicts by seed, tests over the seeds, and each table and figure that the paper has a finding of: numbers as mean and
standard deviation over the seeds, the paper's finding, and what shows here. The report has the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.scale import machine
from benchmarks.seeds import markdown, mean_over, run_seed, tests
from hardneg.config import Config, load, read_yaml
from hardneg.planning.plan import Plan
from hardneg.report.brief import brief
from hardneg.report.content import P_VALUE
from hardneg.report.gather import gather
from hardneg.report.items import items
from hardneg.report.material import Item
from hardneg.report.text import cell_text

LONGEST = 40  # rows; longer tables are in the report
LOOKS = 9  # of a training, evenly spaced, that a page shows at most
VERDICTS = ("It shows here", "It shows in part", "It does not show here", "Cannot be checked here")
PAIRS = [
    ("star", "rand"),
    ("star", "inbatch"),
    ("star", "bm25neg"),
    ("star", "bm25neg_longer"),
    ("star", "ance"),
    *((f"adore_{base}", base) for base in ("star", "inbatch", "rand", "bm25neg", "ance")),
    ("dynamic", "static"),
    ("dynamic", "random"),
    ("static", "random"),
    ("dynamic_star", "static_star"),
    ("dynamic_rand", "static_rand"),
    ("dynamic_inbatch", "static_inbatch"),
    ("dynamic_ance", "static_ance"),
    ("adore_bm25neg", "dynamic"),
    ("adore_star", "dynamic_star"),
    ("adore_rand", "dynamic_rand"),
    ("adore_inbatch", "dynamic_inbatch"),
    ("adore_ance", "dynamic_ance"),
]


@dataclass(frozen=True)
class Seed:
    """What a seed gave: the report's items by name, `per_query.parquet`, and the trainings that were followed."""

    items: dict[str, Item]
    per_query: pd.DataFrame
    trajectory: pd.DataFrame | None


def run(configfile: Path, seed: int) -> Seed:
    """Run the workflow with a seed, and make the report's items from it."""
    _, per_query = run_seed(seed, configfile)
    plan = Plan(load({**read_yaml(configfile), "seed": seed}))
    material = gather(brief(plan), plan.results)
    return Seed({item.name: item for item in items(material)}, per_query, material.trajectory)


def over_seeds(tables: Sequence[pd.DataFrame], digits: Sequence[int]) -> pd.DataFrame | None:
    """Tables of the same rows as one: numbers as mean and standard deviation (n - 1), other cells as they are.

    Cells of text, and p-values, that differ between the seeds are all shown, in the order of the seeds.

    Args:
        tables: one of each seed; the first column names the rows.
        digits: decimals of each column.

    Returns:
        None where the rows or columns differ.
    """
    first = tables[0]
    keys = [list(table.iloc[:, 0]) for table in tables]
    unlike = any(
        list(table) != list(first) or sorted(map(str, key)) != sorted(map(str, keys[0]))
        for table, key in zip(tables, keys, strict=True)
    )
    if unlike or len(set(keys[0])) < len(keys[0]):
        return None
    aligned = [table.set_index(first.columns[0]).loc[keys[0]].reset_index() for table in tables]
    shown: dict[Any, list[str]] = {}
    for name, places in zip(first, digits, strict=True):
        cells = zip(*(table[name] for table in aligned), strict=True)
        numbers = pd.api.types.is_numeric_dtype(first[name]) and places != P_VALUE
        shown[name] = [_number(list(cell), places) if numbers else _text(list(cell), places) for cell in cells]
    return pd.DataFrame(shown)


def _number(values: list[float], places: int) -> str:
    if any(map(pd.isna, values)):
        return _text(list(values), places)
    found = pd.Series(values, dtype=float)
    mean = cell_text(found.mean(), places)
    return mean if len(found) == 1 else f"{mean} ± {cell_text(found.std(ddof=1), places)}"


def _text(values: list[object], places: int) -> str:
    said = [cell_text(value, places) for value in values]
    return said[0] if len(set(said)) == 1 else " / ".join(each or "-" for each in said)


def section(shown: dict[int, Item]) -> list[str]:
    """An item over the seeds: title, table, caption, the paper's finding, and the finding of each seed."""
    one = next(iter(shown.values()))
    parts = [f"## {one.title}"]
    tables = [item.table for item in shown.values() if item.table is not None]
    if tables and max(map(len, tables)) <= LONGEST:
        digits = [one.digits.get(str(name), 0) for name in tables[0]]
        whole = over_seeds(tables, digits)
        if whole is None:
            whole = over_seeds(tables[:1], digits)
            parts.append(f"Seed {next(iter(shown))} alone, since the rows differ between the seeds.")
        if whole is not None:
            parts.append(markdown(whole))
    parts += [one.caption, f"*The paper:* {one.paper}"]
    parts += [f"*Here, seed {seed}:* {item.here}" for seed, item in shown.items() if item.here]
    return parts


def over_training(trajectories: Sequence[pd.DataFrame]) -> list[str]:
    """What was measured while query encoders trained, at some of the steps: a table for each quantity.

    Args:
        trajectories: of each seed: system, step, name, value.
    """
    steps = sorted(set(trajectories[0]["step"]))
    places = [round(place * (len(steps) - 1) / (LOOKS - 1)) for place in range(LOOKS)]
    shown = [steps[place] for place in dict.fromkeys(places)]  # a short training has fewer
    parts = ["## Over training"]
    for name in dict.fromkeys(trajectories[0]["name"]):
        tables = [
            rows[rows["name"] == name].pivot(index="system", columns="step", values="value").reindex(columns=shown)
            for rows in trajectories
        ]
        tables = [table.rename(columns=lambda step: f"step {step}").reset_index() for table in tables]
        whole = over_seeds(tables, [0, *[3] * len(shown)])
        parts += [f"### {name}", markdown(whole)] if whole is not None else []
    return parts


def verdicts(seeds: dict[int, Seed]) -> pd.DataFrame:
    """Of each item that the paper has a finding of, the verdict of each seed."""
    first = next(iter(seeds.values())).items
    rows = {item.title: [_verdict(seed.items[name].here) for seed in seeds.values()] for name, item in first.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"seed {seed}" for seed in seeds]).reset_index(
        names="table or figure"
    )


def _verdict(here: str) -> str:
    return next((said.removeprefix("It ") for said in VERDICTS if here.startswith(said)), "see below")


def page(configfile: Path, config: Config, seeds: dict[int, Seed]) -> str:
    """The page of the seeds so far, below its title."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    main, split = config.evaluation.main_measure, config.splits.evaluate[-1]
    parts = [
        f"`python -m benchmarks.paper {' '.join(sys.argv[1:])}`, commit {commit.stdout.strip()}, {machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}. Seeds in: {', '.join(map(str, seeds))}."
        + (" ± is the standard deviation over seeds (n - 1)." if len(seeds) > 1 else ""),
        "## What shows, by seed",
        markdown(verdicts(seeds)),
    ]
    pairs = [(a, b) for a, b in PAIRS if a in config.systems and b in config.systems]
    if pairs and len(seeds) > 1:
        means = mean_over({seed: one.per_query for seed, one in seeds.items()})
        parts += [
            f"## {main} on {split}, each query's mean over the seeds",
            f"Paired t-tests over queries, with Holm's correction over the {len(pairs)} pairs.",
            markdown(tests({"mean": means}, pairs, split, main).drop(columns="seed")),
        ]
    followed = [one.trajectory for one in seeds.values() if one.trajectory is not None and len(one.trajectory)]
    if followed and "figure4b" in next(iter(seeds.values())).items:
        parts += over_training(followed)
    for name in next(iter(seeds.values())).items:
        parts += section({seed: one.items[name] for seed, one in seeds.items() if name in one.items})
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run the seeds; write the page after each. What stands above the command in an old page is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=Path("configs/paper.yaml"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 1, 2])
    parser.add_argument("--items", nargs="*", help="the names of the tables and figures to show; default: all")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    config = load(read_yaml(given.configfile))
    seeds: dict[int, Seed] = {}
    for seed in given.seeds:
        done = run(given.configfile, seed)
        chosen = {
            name: item for name, item in done.items.items() if item.paper and (not given.items or name in given.items)
        }
        seeds[seed] = Seed(chosen, done.per_query, done.trajectory)
        old = given.output.read_text(encoding="utf-8") if given.output.exists() else f"# {given.configfile.stem}\n\n"
        head = old.partition("`python -m benchmarks.paper ")[0]
        given.output.write_text(head + page(given.configfile, config, seeds), encoding="utf-8")


if __name__ == "__main__":
    main()
