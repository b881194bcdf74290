"""Write the page of configs/zoo.yaml: every method, its score and cost at one budget, and what was verified of it.

    hardneg run configs/zoo.yaml
    python -m benchmarks.zoo --output docs/zoo.md

It reads the results of the finished study. The page gives the command, commit, machine and date, and how long jobs ran.
Text that stands in other sections is kept when the page is written again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.scale import machine
from benchmarks.seeds import markdown, placed, tests
from hardneg.config import load, read_yaml
from hardneg.methods import published
from hardneg.methods.page import cells

SPLIT = "test"
START = "warm"
BUDGET = ("queries met", "passages encoded", "device-seconds")


def wall(artifacts: Path) -> str:
    """How long jobs of a collection's finished stages ran, without the pauses of a run that was resumed."""
    costs = [json.loads(path.read_text(encoding="utf-8")) for path in artifacts.glob("*/*/*cost.json")]
    ends = [datetime.fromisoformat(cost["finished"]).timestamp() for cost in costs]
    total, until = 0.0, 0.0
    for begun, end in sorted((end - cost["seconds"], end) for end, cost in zip(ends, costs, strict=True)):
        total += max(0.0, end - max(begun, until))
        until = max(until, end)
    minutes, seconds = divmod(round(total), 60)
    return f"{minutes}:{seconds:02d} minutes"


def effectiveness(results: Path, names: list[str], measures: list[str]) -> pd.DataFrame:
    """Systems, best first by the first measure: scores, the difference from the common start, and what each cost."""
    table = pd.read_csv(results / "tables" / "table2.csv").set_index("system").loc[names]
    table = table.sort_values(f"{SPLIT} {measures[0]}", ascending=False, kind="stable")
    per_query = pd.read_parquet(results / "per_query.parquet")
    others = [name for name in table.index if name != START]
    tested = tests({0: per_query}, [(name, START) for name in others], SPLIT, measures[0])
    told = tested["difference"] + " (p " + tested["p (Holm)"] + ")"
    gains = dict(zip(others, told, strict=True))
    rows = [
        (
            name,
            *(f"{row[f'{SPLIT} {measure}']:.4f}" for measure in measures),
            gains.get(name, ""),
            *(shown(row[column]) for column in BUDGET),
        )
        for name, row in table.iterrows()
    ]
    return pd.DataFrame(rows, columns=["system", *measures, f"{measures[0]} - {START}", *BUDGET])


def negatives(results: Path) -> pd.DataFrame:
    """What each system's negatives are drawn from, for those that have any to count."""
    table = pd.read_csv(results / "tables" / "negatives.csv")
    table = table.dropna(how="all", subset=list(table.columns[1:]))
    for column in table.columns[2:]:
        table[column] = table[column].map(lambda value, digits=1 if "%" in column else 0: shown(value, digits))
    return table.fillna("")


def verified(systems: dict[str, Any], scores: dict[str, float], measure: str) -> pd.DataFrame:
    """Each preset with what was verified of it, its test, and its score."""
    rows = []
    for name, own in systems.items():
        *_, checked, test = cells(own["preset"], published.preset(own["preset"]))
        rows.append((name, own["preset"], checked, test, f"{scores[name]:.4f}"))
    return pd.DataFrame(rows, columns=["system", "preset", "what was verified", "test", measure])


def shown(value: float, digits: int = 0) -> str:
    """A count, or nothing where there is none."""
    return "" if pd.isna(value) else f"{value:,.{digits}f}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=Path("configs/zoo.yaml"))
    parser.add_argument("--output", required=True, type=Path, help="a Markdown file; other sections are kept")
    given = parser.parse_args()
    written = read_yaml(given.configfile)
    config = load(written)
    systems = {name: own for name, own in written["systems"].items() if own is not None}
    results, measures = Path("results") / config.collection.name, list(config.evaluation.measures)
    scored = pd.read_csv(results / "measures.csv")
    found = scored[(scored["split"] == SPLIT) & (scored["measure"] == measures[0])].set_index("system")["value"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    run = (
        f"`hardneg run {given.configfile}`, commit {commit.stdout.strip()}, {machine()}, {datetime.now(UTC):%Y-%m-%d}, "
        f"seed {config.seed}; jobs ran for {wall(Path('artifacts') / config.collection.name)}."
    )
    tables = {
        "Scores and cost": markdown(effectiveness(results, list(systems), measures)),
        "Negatives": markdown(negatives(results)),
        "What was verified": markdown(verified(systems, dict(found), measures[0])),
    }
    page = given.output.read_text(encoding="utf-8") if given.output.exists() else "# Every method at one budget\n"
    for title, table in tables.items():
        page = placed(page, f"## {title}\n\n{run}\n\n{table}\n")
    given.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
