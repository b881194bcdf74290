"""Gather all systems' scores under results/: measures.csv, per-query values, significance, and links to the runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hardneg.summary import summarise
from workflow_scripts.command import readable_errors


def main() -> None:
    """Read the arguments and summarise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--summary",
        required=True,
        type=json.loads,
        help="JSON: measures (manifest of each system), pairs, main_measure",
    )
    parser.add_argument("--output", required=True, type=Path, help="measures.csv; the rest goes beside it")
    given = parser.parse_args()
    with readable_errors():
        measures = {system: Path(manifest) for system, manifest in given.summary["measures"]}
        summarise(measures, [(a, b) for a, b in given.summary["pairs"]], given.summary["main_measure"], given.output)


if __name__ == "__main__":
    main()
