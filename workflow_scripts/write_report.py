"""Write the report: one HTML file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hardneg.summary import report
from workflow_scripts.command import readable_errors


def main() -> None:
    """Read the arguments and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--summary", required=True, type=json.loads, help="JSON: dataset, collection, stages, systems, relevant_grade"
    )
    parser.add_argument("--measures", required=True, type=Path, help="measures.csv")
    parser.add_argument("--output", required=True, type=Path, help="report.html")
    given = parser.parse_args()
    with readable_errors():
        report(given.summary, given.measures, given.output)


if __name__ == "__main__":
    main()
