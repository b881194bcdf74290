"""`hardneg prune`: remove the stages that no configuration uses."""

from __future__ import annotations

import argparse
import shutil

from hardneg.cli.options import plans
from hardneg.stages.stage import ARTIFACTS


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--yes", action="store_true", help="remove without asking")


def run(given: argparse.Namespace) -> None:
    """List the stages of the configurations' collections that none of them uses, and remove them after a question."""
    chosen = list(plans(given))
    named = {stage.folder for plan in chosen for stage in plan.stages}
    datasets = {plan.dataset for plan in chosen}
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
    if not given.yes and input("Remove them? [y/N] ").strip().lower() not in ("y", "yes"):
        print("Nothing was removed.")
        return
    for folder in unnamed:
        shutil.rmtree(folder)
    print("Removed.")
