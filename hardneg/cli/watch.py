"""`hardneg watch`: what runs in this folder, whoever started it.

A stage runs while a process holds its folder's lock. How far it is stands in its progress file. Not every stage writes
one, and none does so while it loads a model or seals its files.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import LOCK, PROGRESS
from hardneg.stages.stage import ARTIFACTS

STALE_SECONDS = 120.0
WATCH_SECONDS = 2.0
PRINT_SECONDS = 10.0
TAIL_BYTES = 4096
OWNER = ".owner"


class Running(NamedTuple):
    """A stage, or a shard of one, that a process is making.

    Attributes:
        name: its kind and label, and the shard.
        holder: process and host.
        seconds: for how long.
        line: the newest line of its progress file; None if it counts nothing now.
    """

    name: str
    holder: str
    seconds: float
    line: dict[str, Any] | None


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--once", action="store_true", help="print once and exit")


def run(given: argparse.Namespace) -> None:
    """Print what is running, every two seconds until interrupted.

    Raises:
        HardnegError: nothing ran in this folder yet.
    """
    if not ARTIFACTS.is_dir():
        raise HardnegError(
            "Nothing ran in this folder.",
            where=str(Path.cwd()),
            found=f"no folder {ARTIFACTS}",
            remedy="change to the folder in which the workflow runs.",
        )
    while True:
        lines = [shown(stage) for stage in running(ARTIFACTS)] or ["nothing is running"]
        if sys.stdout.isatty() and not given.once:
            print("\033[H\033[2J", end="")
        print("\n".join(lines), flush=True)
        if given.once:
            return
        time.sleep(WATCH_SECONDS)


def running(artifacts: Path) -> Iterator[Running]:
    """The stages whose lock a process holds, by path."""
    owners = sorted(artifacts.glob(f"*/*/*/*{LOCK}{OWNER}"))
    several = len({owner.parents[2].name for owner in owners}) > 1
    for owner in owners:
        try:
            if not _is_held(owner.with_name(owner.name.removesuffix(OWNER))):  # its writer was killed
                continue
            holder, since = owner.read_text(encoding="utf-8").strip(), owner.stat().st_mtime
        except FileNotFoundError:  # it ended just now
            continue
        part = owner.name.removesuffix(LOCK + OWNER).strip(".")
        label = owner.parent.name.rpartition("-")[0]
        label = f"{owner.parents[2].name}/{label}" if several else label
        name = " ".join(filter(None, [owner.parent.parent.name, label, part]))
        line = _newest(owner.with_name(f"{part}.{PROGRESS}" if part else PROGRESS), since)
        yield Running(name, holder, max(time.time() - since, 0.0), line)


def _is_held(lock: Path) -> bool:
    """Whether a process holds a writer's lock. A look is shared, so that two lookers do not see each other."""
    with lock.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _newest(progress: Path, since: float) -> dict[str, Any] | None:
    """The newest line of a progress file, if its work goes on and it was written by this run of the stage."""
    try:
        written = progress.stat().st_mtime
        with progress.open("rb") as stream:
            stream.seek(max(0, progress.stat().st_size - TAIL_BYTES))
            line: dict[str, Any] = json.loads(stream.read().splitlines()[-1])
    except (OSError, ValueError, IndexError):  # there is none, or its last line is incomplete
        return None
    return {**line, "silent": time.time() - written} if line["state"] == "running" and written >= since else None


def shown(stage: Running) -> str:
    """One running stage for people: its name, work done, values, rate, time left; else for how long it runs."""
    line = stage.line
    if line is None:
        return f"{stage.name:<28}  for {clock(stage.seconds)}, {stage.holder}"
    total = f"/{line['total']:,}" if line["total"] is not None else ""
    parts = [f"{stage.name:<28}", f"{line['done']:,}{total} {line['unit']}"]
    parts += [f"{name} {value:.4g}" for name, value in line["values"].items()]
    parts.append(f"{line['rate']:,.1f} {line['unit']}/s")
    if line["seconds_left"] is not None:
        parts.append(f"{clock(line['seconds_left'])} left")
    if line["silent"] > STALE_SECONDS:
        parts.append(f"no news for {clock(line['silent'])}, {stage.holder}")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Such as 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def start(artifacts: Path) -> None:
    """Print what is running to standard error every ten seconds, from a daemon thread."""

    def follow() -> None:
        while True:
            time.sleep(PRINT_SECONDS)
            for stage in running(artifacts):
                print(shown(stage), file=sys.stderr, flush=True)

    threading.Thread(target=follow, daemon=True, name="progress").start()
