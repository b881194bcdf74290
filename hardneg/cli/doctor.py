"""`hardneg doctor`: what of this machine and installation would not work, and what to do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def run(given: argparse.Namespace) -> None:
    """Print a line a finding; status 1 if something is wrong."""
    from hardneg.estimate.examination import examined  # other commands need not wait for it

    wrong = 0
    for finding in examined(Path.cwd()):
        wrong += finding.level == "wrong"
        print(f"{finding.level:<6} {finding.what}: {finding.found}", flush=True)
        if finding.remedy and finding.level != "ok":
            print(f"       remedy: {finding.remedy}", flush=True)
    if wrong:
        sys.exit(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.")
