"""Files that are dated in the future: a clock was set back, or another machine's is ahead."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from hardneg.errors import HardnegError

TOLERANCE = 2.0
"""Seconds that clocks of machines may differ by: the shortest job takes as long."""


def check_dates(inputs: Iterable[str]) -> None:
    """Refuse inputs from the future. Snakemake would run their jobs, and only then fail, since outputs look older.

    Args:
        inputs: files that jobs are going to read; those that are not there yet are passed over.

    Raises:
        HardnegError: one is dated later than now.
    """
    now = time.time()
    dates = {path: Path(path).stat().st_mtime for path in set(inputs) if Path(path).exists()}
    late = sorted(path for path, date in dates.items() if date > now + TOLERANCE)
    if late:
        more = f", and {len(late) - 1} other input{'s' * (len(late) > 2)}" if len(late) > 1 else ""
        raise HardnegError(
            "An input is dated in the future.",
            where=f"{late[0]}{more}",
            found=_told(dates[late[0]]),
            expected=f"no later than {_told(now)}",
            remedy="set the clock of this machine right, or that of the one that wrote the file. If they are right now:"
            " `find artifacts -newermt now -exec touch {} +`. No stage is made again by that.",
        )


def _told(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
