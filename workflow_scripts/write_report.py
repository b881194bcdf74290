"""Write the report, one HTML file, and each table and figure of it as files for a paper."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hardneg.report.files import write_files
from hardneg.report.gather import gather
from hardneg.report.items import items
from hardneg.report.page import write_report
from workflow_scripts.command import readable_errors
from workflow_scripts.stored import bring_named


def main() -> None:
    """Read the arguments and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brief", required=True, type=Path, help="JSON file: `hardneg.report.brief` of the plan")
    parser.add_argument("--measures", required=True, type=Path, help="measures.csv, with what lies beside it")
    parser.add_argument("--output", required=True, type=Path, help="report.html")
    given = parser.parse_args()
    with readable_errors():
        brief = json.loads(given.brief.read_text(encoding="utf-8"))
        bring_named(brief)
        material = gather(brief, given.measures.parent)
        shown = items(material)
        write_files(shown, given.output.parent)
        write_report(material, shown, given.output)


if __name__ == "__main__":
    main()
