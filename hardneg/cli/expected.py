"""`hardneg expect`: measured scores against expected ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hardneg.cli.options import configs, files
from hardneg.stages.stage import RESULTS


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument(
        "expected", nargs="?", type=Path, help="a YAML file (default: study.expected.yaml beside study.yaml)"
    )


def run(given: argparse.Namespace) -> None:
    """Print a table for each configuration; exit with status 1 if a score is too low or missing."""
    from hardneg.evaluation import expected as expect

    reached = True
    for path, config in zip(files(given), configs(given), strict=True):
        entries = expect.read_expected(given.expected or expect.expected_file(path))
        scores = expect.read_measures(RESULTS / config.collection.name / "measures.csv")
        outcomes = expect.compare(entries, scores, config.systems)
        print(expect.table(outcomes))
        reached &= expect.reached(outcomes)
    if not reached:
        sys.exit(1)
