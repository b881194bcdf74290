"""`hardneg compare`: several studies side by side, with the mean over their collections."""

from __future__ import annotations

import argparse
from pathlib import Path

from hardneg.cli.options import configs
from hardneg.stages.stage import RESULTS


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--output", type=Path, metavar="PAGE.html", help="write a page with all measures, too")


def run(given: argparse.Namespace) -> None:
    """Print the main measure of each system on each collection, and the mean."""
    from hardneg.report.studies import as_text, read_studies, write_page

    studies = read_studies(list(configs(given)), RESULTS)
    print(as_text(studies))
    if given.output is not None:
        write_page(studies, given.output)
        print(f"\n{given.output}")
