"""What Snakemake tells its jobs through the environment."""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

RUNTIME = "HARDNEG_RUNTIME"
"""Runtime settings, JSON."""

FORCED = "HARDNEG_FORCED"
"""The rules and files that are to be made again, a line each."""

RUN = "HARDNEG_RUN"
"""Which run of Snakemake the job belongs to."""

WARM = "HARDNEG_WARM"
"""Where a process listens that forks jobs; see `warm`."""

ALL = "*"

ALLOCATOR = ("ARROW_DEFAULT_MEMORY_POOL", "system")
"""Arrow's own allocator keeps tens of MiB that it has freed; streaming takes as long without it."""


def tell_jobs(settings: Any) -> None:
    """Tell the jobs which run of Snakemake they belong to, and which rules or files it was told to make again.

    They are also told how Arrow allocates memory, unless the user said so. By the first a retry knows what was said
    before. Without the second a finished stage that lost its manifest gets it back.
    """
    os.environ[RUN] = uuid4().hex
    os.environ.setdefault(*ALLOCATOR)
    forced = [ALL] if settings.forceall else [*settings.forcerun, *(settings.targets if settings.forcetargets else ())]
    os.environ[FORCED] = "\n".join(map(str, forced))


def is_forced(rule: str) -> bool:
    """Whether this rule, everything, or some file by its name is to be made again."""
    names = os.environ.get(FORCED, "").split("\n")
    return any(name in (ALL, rule) or "/" in name for name in names)
