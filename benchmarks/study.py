"""Write a page with the scores and comparisons of a finished study.

    python -m benchmarks.study --configfile configs/squad.yaml --split test --output docs/squad.md

The page has the scores of all systems on the split, each comparison on the main measure, the training of each system,
and the command, commit, machine and date.
"""

from __future__ import annotations

import argparse
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from benchmarks.scale import machine
from benchmarks.seeds import markdown
from hardneg.config import Config, load, read_yaml


def scores(measures: pd.DataFrame, split: str) -> pd.DataFrame:
    """Systems by measures, in the order of the file."""
    chosen = measures[measures["split"] == split]
    table = chosen.pivot(index="system", columns="measure", values="value")
    return table.loc[chosen["system"].unique(), chosen["measure"].unique()].reset_index()


def comparisons(significance: pd.DataFrame, split: str, measure: str) -> pd.DataFrame:
    """For each pair: mean difference, confidence interval, and both p-values, Holm-corrected over the pairs."""
    chosen = significance[(significance["split"] == split) & (significance["measure"] == measure)]
    rows = [
        (
            f"{row.system} - {row.baseline}",
            f"{row.difference:+.4f}",
            f"[{row.ci_low:+.4f}, {row.ci_high:+.4f}]",
            *(f"{p:.2g}" if p > 1e-99 else "< 1e-99" for p in (row.p_t_holm, row.p_randomisation_holm)),
        )
        for row in chosen.itertuples()
    ]
    return pd.DataFrame(rows, columns=["pair", "difference", "95% interval", "p, t-test", "p, randomisation"])


def training(config: Config) -> pd.DataFrame:
    """The training of each system: steps, batch size, and training queries seen, counted with repetition."""
    rows = []
    for name, system in config.systems.items():
        if system.trains != "nothing":
            steps, batch = system.train.steps or 0, system.train.batch_size
            rows.append((name, system.from_ or "random weights", steps, batch, f"{steps * batch:,}", system.train.lr))
    return pd.DataFrame(rows, columns=["system", "starts from", "steps", "batch", "queries met", "learning rate"])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", required=True, type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    config = load(read_yaml(given.configfile))
    results, main_measure = Path("results") / config.collection.name, config.evaluation.main_measure
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    parts = [
        f"# {config.collection.name}: scores on {given.split}",
        f"`snakemake --cores all --configfile {given.configfile}`, commit {commit.stdout.strip()}, {machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, seed {config.seed}.",
        markdown(scores(pd.read_csv(results / "measures.csv"), given.split)),
        f"## Comparisons on {main_measure}",
        "Two-sided, paired over queries; p-values are Holm-corrected over the pairs below.",
        markdown(comparisons(pd.read_csv(results / "significance.csv"), given.split, main_measure)),
        "## Training",
        markdown(training(config)),
    ]
    given.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
