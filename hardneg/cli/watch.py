"""`hardneg watch`: the progress of running stages, read from the progress files in their folders."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardneg.stages.artifacts import PROGRESS
from hardneg.stages.stage import ARTIFACTS

STALE_SECONDS = 120.0
WATCH_SECONDS = 2.0
PRINT_SECONDS = 10.0
TAIL_BYTES = 4096


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--once", action="store_true", help="print once and exit")


def run(given: argparse.Namespace) -> None:
    """Print what is running, every two seconds until interrupted."""
    while True:
        lines = [shown(line) for line in running(ARTIFACTS)] or ["nothing is running"]
        if sys.stdout.isatty() and not given.once:
            print("\033[H\033[2J", end="")
        print("\n".join(lines), flush=True)
        if given.once:
            return
        time.sleep(WATCH_SECONDS)


def running(artifacts: Path) -> Iterator[dict[str, Any]]:
    """The newest progress line of each unfinished stage that reported within the last two minutes."""
    now = time.time()
    for path in sorted(artifacts.glob(f"*/*/*/*{PROGRESS}")):
        try:
            if now - path.stat().st_mtime > STALE_SECONDS:
                continue
            with path.open("rb") as stream:
                stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
                line = json.loads(stream.read().splitlines()[-1])
        except (OSError, ValueError, IndexError):  # the file was removed, or its last line is incomplete
            continue
        if line["state"] == "running":
            yield line


def shown(line: dict[str, Any]) -> str:
    """One progress line for people: label, work done, values, rate, time left."""
    total = f"/{line['total']:,}" if line["total"] is not None else ""
    parts = [f"{line['label']:<28}", f"{line['done']:,}{total} {line['unit']}"]
    parts += [f"{name} {value:.4g}" for name, value in line["values"].items()]
    parts.append(f"{line['rate']:,.1f} {line['unit']}/s")
    if line["seconds_left"] is not None:
        minutes, seconds = divmod(round(line["seconds_left"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)


def start(artifacts: Path) -> None:
    """Print what is running to standard error every ten seconds, from a daemon thread."""

    def follow() -> None:
        while True:
            time.sleep(PRINT_SECONDS)
            for line in running(artifacts):
                print(shown(line), file=sys.stderr, flush=True)

    threading.Thread(target=follow, daemon=True, name="progress").start()
