"""Gather all systems' scores under results/: measures.csv, per-query values, significance, and links to the runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hardneg.report.summary import Scored, summarise
from workflow_scripts.command import readable_errors
from workflow_scripts.stored import bring_named


def main() -> None:
    """Read the arguments and summarise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--brief",
        required=True,
        type=Path,
        help="JSON file: measures and exports (manifests by system), pairs, main_measure, collections",
    )
    parser.add_argument("--output", required=True, type=Path, help="measures.csv; the rest goes beside it")
    given = parser.parse_args()
    with readable_errors():
        brief = json.loads(given.brief.read_text(encoding="utf-8"))
        bring_named(brief)
        measures = {system: Path(manifest) for system, manifest in brief["measures"]}
        exports = {system: Path(manifest) for system, manifest in brief["exports"].items()}
        pairs = [(a, b) for a, b in brief["pairs"]]
        collections = [
            Scored(
                entry["dataset"],
                entry["name"],
                entry["split"],
                {name: Path(manifest) for name, manifest in entry["measures"]},
            )
            for entry in brief["collections"]
        ]
        given.output.parent.mkdir(parents=True, exist_ok=True)
        summarise(measures, pairs, brief["main_measure"], exports, given.output, collections)


if __name__ == "__main__":
    main()
