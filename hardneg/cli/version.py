"""`hardneg --version`: the version, and the commit where it runs from a checkout."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from hardneg.stages.release import commit, release


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
    found = commit()
    return release() if found is None else f"{release()} (commit {found})"
