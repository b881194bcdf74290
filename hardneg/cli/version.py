"""`hardneg --version`: the version, and the commit where it runs from a checkout."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the package lies; its checkout, if it is installed from one."""


class ShowVersion(argparse.Action):
    """An option that prints the version and exits. Git is asked only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        """Print it."""
        print(version())
        parser.exit()


def version() -> str:
    """Such as `hardneg 0.1.0 (commit 152dce6)`; `-dirty` follows a commit where files of it were changed."""
    release = f"hardneg {metadata.version('hardneg')}"
    if not (CHECKOUT / ".git").exists():
        return release
    asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or not this user's checkout
        return release
    return f"{release} (commit {told.stdout.strip()})"
