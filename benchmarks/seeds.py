"""Run the workflow with several seeds and write tables of scores, standard deviations and paired tests.

    python -m benchmarks.seeds --seeds 1 2 3 --output docs/pydocs-seeds.md

Each seed is a run of `snakemake --cores all --config seed=N` in this checkout. Stages that do not depend on the seed
(the collection, BM25, tokens) run once. The page gives the command, commit, machine and date.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from hardneg.config import load, read_yaml
from hardneg.evaluation.measures import compare, holm


def run_seed(seed: int, configfile: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run one seed; its `measures.csv` and `per_query.parquet`."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "all",
        "--configfile",
        str(configfile),
        "--config",
        f"seed={seed}",
    ]
    subprocess.run(command, check=True)
    results = Path("results") / load(read_yaml(configfile)).collection.name
    return pd.read_csv(results / "measures.csv"), pd.read_parquet(results / "per_query.parquet")


def scores(runs: dict[int, pd.DataFrame], split: str, measure: str) -> pd.DataFrame:
    """Systems by seeds, with mean and standard deviation over seeds."""
    columns = {}
    for seed, measures in runs.items():
        chosen = measures[(measures["split"] == split) & (measures["measure"] == measure)]
        columns[f"seed {seed}"] = chosen.set_index("system")["value"]
    table = pd.DataFrame(columns)
    by_seed = table.copy()
    table["mean"], table["sd"] = by_seed.mean(axis=1), by_seed.std(axis=1, ddof=1)
    return table


def mean_over(per_query: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Each query's mean over the seeds: the table `per_query.parquet` again."""
    keys = ["system", "split", "query_id", "measure"]
    return pd.concat(per_query.values()).groupby(keys, sort=False)["value"].mean().reset_index()


def tests(
    per_query: Mapping[Any, pd.DataFrame], pairs: list[tuple[str, str]], split: str, measure: str
) -> pd.DataFrame:
    """Paired t-tests of each pair within each seed, Holm-corrected over the pairs of a seed."""
    rows = []
    for seed, values in per_query.items():
        chosen = values[(values["split"] == split) & (values["measure"] == measure)]
        scored = {system: group.set_index("query_id")["value"] for system, group in chosen.groupby("system")}
        found = [compare(scored[a], scored[b]) for a, b in pairs]
        for (a, b), one, corrected in zip(pairs, found, holm([one.p_t for one in found]), strict=True):
            rows.append(
                (
                    f"{a} - {b}",
                    seed,
                    f"{one.difference:+.4f}",
                    f"[{one.ci_low:+.4f}, {one.ci_high:+.4f}]",
                    f"{one.p_t:.2g}",
                    f"{corrected:.2g}",
                )
            )
    return pd.DataFrame(rows, columns=["pair", "seed", "difference", "95% interval", "p", "p (Holm)"])


def markdown(table: pd.DataFrame) -> str:
    """A table for a Markdown page."""
    shown = table.map(lambda value: f"{value:.4f}" if isinstance(value, float) else str(value))
    head = "| " + " | ".join(map(str, shown.columns)) + " |\n|" + "---|" * len(shown.columns)
    return "\n".join([head, *("| " + " | ".join(row) + " |" for row in shown.to_numpy())])


def placed(old: str, section: str) -> str:
    """A page with a section in the place of its old one of the same title, or at the end."""
    start, *others = old.split("\n## ")
    sections = {text.partition("\n")[0]: text.strip() for text in others}
    new = section.removeprefix("## ")
    sections[new.partition("\n")[0]] = new.strip()
    return "\n\n## ".join([start.strip(), *sections.values()]) + "\n"


def main() -> None:
    """Run the seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--pairs",
        nargs="+",
        default=["star:bm25neg", "star:bm25neg_longer", "adore_star:star", "adore_star:bm25"],
        metavar="SYSTEM:BASELINE",
    )
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    results = {seed: run_seed(seed, given.configfile) for seed in given.seeds}
    measures = {seed: both[0] for seed, both in results.items()}
    per_query = {seed: both[1] for seed, both in results.items()}
    names = list(dict.fromkeys(next(iter(measures.values()))["measure"]))
    pairs = [(a, b) for a, _, b in (pair.partition(":") for pair in given.pairs)]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    parts = [
        f"# Seeds {', '.join(map(str, given.seeds))} on the {given.split} split",
        f"`python -m benchmarks.seeds {' '.join(sys.argv[1:])}`, commit {commit}, {os.cpu_count()} cores of "
        f"{platform.machine()}, no GPU, {datetime.now(UTC):%Y-%m-%d}. sd is over seeds (n - 1).",
    ]
    for name in names:
        parts += [f"## {name}", markdown(scores(measures, given.split, name).reset_index(names="system"))]
    parts += [
        f"## Paired t-tests on {names[0]}, query by query",
        "Two-sided, with Holm's correction over the pairs: within each seed, and of each query's mean over the seeds.",
        markdown(tests({**per_query, "mean": mean_over(per_query)}, pairs, given.split, names[0])),
    ]
    given.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
