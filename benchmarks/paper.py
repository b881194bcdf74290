"""Write a page that compares a finished study with the paper, item by item.

    python -m benchmarks.paper --configfile configs/paper.yaml --minutes 36 --output docs/paper.md

The page has each table of the report, the paper's finding and whether it is reproduced, and the command, commit,
machine and date.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from benchmarks.scale import machine
from benchmarks.seeds import markdown
from hardneg.config import load, read_yaml
from hardneg.report.gather import gather
from hardneg.report.items import items
from hardneg.report.material import Item
from hardneg.report.text import cell_text
from hardneg.stages.stage import ARTIFACTS

LONGEST = 40  # rows; longer tables are in the report


def section(item: Item) -> list[str]:
    """An item's title, table, caption, the paper's finding, and the finding here."""
    table = []
    if item.table is not None and len(item.table) <= LONGEST:
        shown = {
            name: [cell_text(value, item.digits.get(name, 0)) for value in item.table[name]] for name in item.table
        }
        table = [markdown(pd.DataFrame(shown))]
    said = [f"*The paper:* {item.paper}"] if item.paper else []
    return [f"## {item.title}", *table, item.caption, *said, *([f"*Here:* {item.here}"] if item.here else [])]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=Path("configs/paper.yaml"))
    parser.add_argument("--minutes", type=int, required=True, help="wall-clock minutes of the run")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    config = load(read_yaml(given.configfile))
    results = Path("results") / config.collection.name
    plan = ARTIFACTS / f".plan-{config.collection.name}.json"
    material = gather(json.loads(plan.read_text(encoding="utf-8")), results)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    parts = [
        f"# {given.configfile.stem}: what the paper found, and what shows on {config.collection.name}",
        f"`snakemake --cores all --configfile {given.configfile}`, commit {commit.stdout.strip()}, {machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, seed {config.seed}, {given.minutes} minutes.",
    ]
    for item in items(material):
        parts += section(item)
    given.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
