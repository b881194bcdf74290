"""`hardneg verify`: check every finished stage against what was sealed."""

from __future__ import annotations

import argparse
import sys

from hardneg.errors import HardnegError
from hardneg.stages.stage import ARTIFACTS
from hardneg.stages.verification import verified


def run(given: argparse.Namespace) -> None:
    """Read every byte of every finished stage; status 1 if one is not as it was sealed."""
    if not ARTIFACTS.is_dir():
        raise HardnegError(
            "There is nothing to verify here.",
            where=str(ARTIFACTS.absolute()),
            found="no such folder",
            remedy="go to the folder in which the workflow ran.",
        )
    stages = files = size = wrong = 0
    for found in verified(ARTIFACTS):
        if found.fault is not None:
            wrong += 1
            print(f"wrong: {found.folder}\n{found.fault}", flush=True)
        elif not found.finished:
            print(f"unfinished: {found.folder}; the workflow goes on with it", flush=True)
        else:
            stages, files, size = stages + 1, files + found.files, size + found.bytes
            for lost in found.lost:
                print(f"note: {found.folder} was made from {lost}, which is not here any more", flush=True)
    print(f"{stages} stages are as they were sealed: {files} files, {size / 2**20:,.1f} MiB.")
    if wrong:
        sys.exit(f"{wrong} {'stage is' if wrong == 1 else 'stages are'} not.")
