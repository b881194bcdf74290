"""The exceptions that speak to the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HardnegError(Exception):
    """A fault that the user can mend.

    The message names the place, what was found, what was expected and the remedy, one a line; those not
    given are left out. Command-line modules print it without a traceback and exit with status 1.

    Args:
        what: one sentence, what is wrong.
        where: a file (with its line) or a configuration key.
        found: the offending value.
        expected: what is allowed there.
        remedy: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        parts = [("where", where), ("found", found), ("expected", expected), ("remedy", remedy)]
        lines = [what] + [f"  {name + ':':<10}{text}" for name, text in parts if text is not None]
        super().__init__("\n".join(lines))


class Stopped(Exception):
    """A job was told to stop, and left what it needs to go on; the message says where."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The known name most like `name`, or None where nothing is close."""
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)), None)
