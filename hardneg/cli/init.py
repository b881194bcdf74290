"""`hardneg init`: a folder to work in, with a configuration to run and the profiles that say where."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from hardneg.cli.workflow import workflow_folder
from hardneg.errors import HardnegError

WRITTEN = ("config.yaml", "config.expected.yaml", "configs/*.*", "profiles/*/profile.yaml")
IGNORED = ("artifacts", "logs", "results", ".snakemake", ".probe-*")
"""What runs write, which no repository should hold."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")


def run(given: argparse.Namespace) -> None:
    """Write the project, and say how to run it.

    Raises:
        HardnegError: there is something in the folder, or it is a file.
    """
    folder: Path = given.folder
    _check_empty(folder)
    source = workflow_folder()
    for pattern in WRITTEN:
        for file in sorted(source.glob(pattern)):
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    (folder / ".gitignore").write_text("".join(f"/{name}\n" for name in IGNORED), encoding="utf-8")
    there = "" if folder.resolve() == Path.cwd() else f"  cd {folder}\n"
    print(
        f"Wrote config.yaml (the demo), configs/ (others to copy) and profiles/ to {folder}. Then:\n{there}"
        "  hardneg run config.yaml bm25     # BM25 alone\n"
        "  hardneg run config.yaml          # all of it, and the report\n"
        "  hardneg run configs/own-data.yaml    # your own files, once they are named there"
    )


def _check_empty(folder: Path) -> None:
    if folder.is_dir():
        found = sorted(path.name for path in folder.iterdir() if path.name != ".git")
        told = f"{len(found)} files or folders, such as {found[0]}" if found else ""
    else:
        told = "a file" if folder.exists() else ""
    if told:
        raise HardnegError(
            "A project is written into an empty folder only, so that nothing of yours is lost.",
            where=str(folder),
            found=told,
            expected="a new or an empty folder",
            remedy="name another one.",
        )
