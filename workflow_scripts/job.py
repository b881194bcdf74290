"""Run a script of this folder: in a process forked from the run's warm one where there is one, else in this process.

`python -m workflow_scripts.job SCRIPT ARGUMENT ...` does what `python -m workflow_scripts.SCRIPT ARGUMENT ...` does. To
import torch and Transformers takes seconds, and a study has hundreds of jobs. See `warm` for what is forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.environment import WARM

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals to this process that are meant for the script."""

LOST = 128 + signal.SIGKILL
"""The exit status where the forked process ended without a word, as a shell tells of a killed one."""


def main() -> None:
    """Run the script that the first argument names, and exit as it does."""
    script, *arguments = sys.argv[1:]
    if WARM in os.environ:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:  # it may have ended
            line.connect(os.environ[WARM])
            if (status := _by_fork(line, script, arguments)) is not None:
                sys.exit(status)
    from workflow_scripts.warm import load

    load(script)
    run(script, arguments)


def run(script: str, arguments: list[str]) -> None:
    """Run a script in this process, as `python -m` would."""
    sys.argv = [script, *arguments]
    runpy.run_module(f"workflow_scripts.{script}", run_name="__main__", alter_sys=True)


def situation() -> dict[str, Any]:
    """What a process has from the one that started it, and a forked one has to be given."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {"folder": str(Path.cwd()), "umask": umask, "environment": dict(os.environ), "python": sys.prefix}


def _by_fork(line: socket.socket, script: str, arguments: list[str]) -> int | None:
    """The exit status of the script in a forked process; None where that would differ from one of its own.

    Signals that arrive before the process is known are kept and sent to it then.
    """
    asked = json.dumps({"script": script, "arguments": arguments, **situation()}).encode()
    socket.send_fds(line, [len(asked).to_bytes(8)], [0, 1, 2])
    line.sendall(asked)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    said = line.makefile("r", encoding="ascii")
    process = int(said.readline() or 0)
    if process:
        for number in FORWARDED:
            signal.signal(number, lambda number, frame: _forward(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    return int(said.readline() or LOST) if process else None


def _forward(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.kill(process, number)


if __name__ == "__main__":
    main()
