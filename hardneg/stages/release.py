"""Which code this is: its release, and its commit where it runs from a checkout."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the package lies; its checkout, if it is installed from one."""


def release() -> str:
    """Such as `hardneg 0.1.0`."""
    return f"hardneg {metadata.version('hardneg')}"


def commit() -> str | None:
    """The commit, such as `152dce6`; `-dirty` follows it where files of it were changed. None outside a checkout."""
    if not (CHECKOUT / ".git").exists():
        return None
    asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or not this user's checkout
        return None
    return told.stdout.strip()
