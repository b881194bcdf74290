"""`hardneg prune`: remove the stages that no configuration uses."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from pathlib import Path

import filelock

from hardneg.cli.options import plans
from hardneg.stages.artifacts import LOCK
from hardneg.stages.stage import ARTIFACTS


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--yes", action="store_true", help="remove without asking")
    command.add_argument(
        "--elsewhere",
        action="store_true",
        help="look at the collections of `evaluate_on` too; name the configurations of all studies that use them",
    )


def run(given: argparse.Namespace) -> None:
    """List the stages of the configurations' collections that none of them uses, and remove them after a question."""
    chosen = list(plans(given))
    named = {stage.folder for plan in chosen for stage in plan.stages}
    datasets = {plan.dataset for plan in chosen}
    if given.elsewhere:  # another study may have trained there for hours, so nobody loses that unasked
        datasets |= {dataset for plan in chosen for dataset in plan.elsewhere}
    folders = [f for dataset in sorted(datasets) for f in sorted((ARTIFACTS / dataset).glob("*/*-*")) if f.is_dir()]
    unnamed = [folder for folder in folders if folder not in named]
    if not unnamed:
        print("Nothing to remove: the configurations use every stage.")
        return
    total = 0
    for folder in unnamed:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        total += size
        print(f"{size / 2**20:10.1f} MiB  {folder}")
    print(f"{total / 2**20:10.1f} MiB  in {len(unnamed)} stages")
    if not given.yes and not _agreed():
        print("Nothing was removed.")
        return
    busy = [folder for folder in unnamed if not _removed(folder)]
    for folder in busy:
        print(f"kept: {folder} is being written by another process")
    print(f"Removed {len(unnamed) - len(busy)} stages." if busy else "Removed.")


def _removed(folder: Path) -> bool:
    """Remove a stage, unless another process writes it: it holds one of the folder's locks."""
    with contextlib.ExitStack() as held:
        try:
            for lock in folder.glob(f"*{LOCK}"):
                held.enter_context(filelock.FileLock(lock).acquire(blocking=False))
        except filelock.Timeout:
            return False
        shutil.rmtree(folder)
    return True


def _agreed() -> bool:
    """Whether the person says yes; who cannot be asked does not."""
    try:
        return sys.stdin is not None and input("Remove them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
