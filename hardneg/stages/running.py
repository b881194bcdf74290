"""Which workflows run in this folder, so that two of them never make the same stage.

Snakemake removes what an unfinished job left before it starts the job again. Two runs that make the same stage would
remove each other's files. Snakemake's own lock would prevent that, but stays when Snakemake is killed. These locks are
held by the process, and the kernel releases them however it ends.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import filelock

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import write_json
from hardneg.stages.stage import ARTIFACTS

SHOWN = 3
_held: list[filelock.BaseFileLock] = []


def claim(outputs: Iterable[str], folder: Path) -> None:
    """Claim what a run is going to make, until this process ends. Runs that make different things do not meet.

    Args:
        outputs: the files that its jobs make: manifests of stages, markers of shards, results.
        folder: where runs note what they claim.

    Raises:
        HardnegError: another run makes some of them.
    """
    wanted = set(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "looking.lock"):
        for note in sorted(folder.glob("*.json")):
            if not _ended(note):
                _refuse_shared(wanted, json.loads(note.read_text(encoding="utf-8")))
        own = folder / f"{socket.gethostname()}-{os.getpid()}.json"
        lock = filelock.FileLock(own.with_suffix(".lock"))
        lock.acquire(timeout=0)
        _held.append(lock)
        write_json(own, {"process": os.getpid(), "host": socket.gethostname(), "stages": sorted(wanted)})


def _ended(note: Path) -> bool:
    """Whether a run has ended; then its note is removed."""
    lock = filelock.FileLock(note.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    note.unlink(missing_ok=True)
    lock.release()
    note.with_suffix(".lock").unlink(missing_ok=True)
    return True


def _refuse_shared(wanted: set[str], other: dict[str, object]) -> None:
    made = other["stages"]
    assert isinstance(made, list)
    if shared := sorted({_named(path) for path in wanted.intersection(made)}):
        more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
        raise HardnegError(
            "Another run in this folder makes some of the same stages.",
            where=f"process {other['process']} on {other['host']}",
            found=", ".join(shared[:SHOWN]) + more,
            remedy="wait until it ends, then run the same command: what it has made is not made again.",
        )


def _named(output: str) -> str:
    """What a person calls it: a stage by its folder, a result by its file."""
    path = Path(output)
    return str(path.parent if path.is_relative_to(ARTIFACTS) else path)
