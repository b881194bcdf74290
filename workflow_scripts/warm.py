"""A warm process: it imports what the scripts of a run import, and forks one process a job.

Snakemake starts it with a run on this machine. It imports nothing until a job asks, and it ends with Snakemake, however
that ends. It never touches a GPU, whose state no forked process may share: each job takes its devices after the fork. A
forked process has the job's folder, environment and files; it ends if `job`, which waits for it, is killed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from workflow_scripts.environment import WARM
from workflow_scripts.job import run, situation

BACKLOG = 1024

THREADS = "_THREADS"
"""How variables end that Snakemake sets to a job's threads."""

OWN = ("_", "SHLVL", "PWD", "OLDPWD", "PS1", "PS2", "PS4", "TMPDIR", "TEMPDIR", "TMP", "TEMP")
"""Variables that a shell, or Snakemake for each job, sets or removes, such as the prompt that `activate` exports."""

ALLOCATOR = "jemalloc_bg_thd"

DEVICES = "/dev/nvidia"
"""What a process has open once it, or a library in it, has initialised CUDA."""

ENCODERS = ("transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert")
"""What scripts that import torch import later, if at all; the first that wants an encoder would do so for seconds."""


def start() -> subprocess.Popen[bytes] | None:
    """Start it, and tell the jobs of this process where it listens.

    Returns:
        The process. It ends when this one does, or its standard input is closed. None where no socket can be made, as
        with a long TMPDIR: then every job imports for itself.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        folder = Path(tempfile.mkdtemp(prefix="hardneg-"))  # nobody else may enter it
        listener.bind(str(folder / "warm"))
    except OSError:
        listener.close()
        return None
    listener.listen(BACKLOG)
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a process with threads cannot be forked
    process = subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.warm", str(listener.fileno()), str(folder)],
        stdin=subprocess.PIPE,  # by whose end it notices that this process ended
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,  # Ctrl-C is for the jobs
        env=os.environ | one,
    )
    listener.close()
    os.environ[WARM] = str(folder / "warm")
    return process


def load(script: str) -> None:
    """Import a script and what it imports. Imports leave no garbage, and to collect it takes a fifth of their time."""
    gc.disable()
    try:
        importlib.import_module(f"workflow_scripts.{script}")
    finally:
        gc.freeze()  # what is imported stays, so collecting at the end would find nothing either
        gc.enable()
    del sys.modules[f"workflow_scripts.{script}"]  # it is run as a program


def main() -> None:
    """Serve jobs until the standard input ends."""
    listener, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    own = situation()  # some libraries change the environment when they are imported
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in waiting.select()):
            line, _ = listener.accept()
            with line, contextlib.suppress(OSError, ValueError):  # the job was killed meanwhile
                _serve(listener, line, own)
            _bury()
    shutil.rmtree(folder, ignore_errors=True)


def _serve(listener: socket.socket, line: socket.socket, own: dict[str, Any]) -> None:
    """Fork the process that runs what is asked for; in that process, do not return."""
    head, files, _, _ = socket.recv_fds(line, 8, 3)
    try:
        with line.makefile("rb") as asked:
            job = json.loads(asked.read(int.from_bytes(head)))
        if _read_at_start(job) != _read_at_start(own):
            line.sendall(b"0\n")
            return
        with contextlib.suppress(Exception):  # the job itself tells it
            load(job["script"])
            if "torch" in sys.modules:
                for name in ENCODERS:
                    importlib.import_module(name)
        if not _may_fork():
            line.sendall(b"0\n")
        elif os.fork() == 0:
            listener.close()
            _become(job, files, line)
    finally:
        for file in files:
            os.close(file)


def _read_at_start(situation: dict[str, Any]) -> list[Any]:
    """What libraries may read when they are imported, which must not differ between this process and a job's own."""
    variables: dict[str, str] = situation["environment"]
    told = {name: value for name, value in variables.items() if name not in (*OWN, WARM) and not name.endswith(THREADS)}
    return [situation["python"], situation["folder"], told]


def _may_fork() -> bool:
    """Whether a forked process would have all that this one has.

    It would lack threads, of which only Arrow's allocator starts its own again, and could not use CUDA where a library
    initialised it here by being imported.
    """
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return len([name for name in names if name != ALLOCATOR]) == 1 and not _has_open(DEVICES)


def _has_open(prefix: str) -> bool:
    """Whether this process has a file open whose path begins so."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own, which is closed by now
            if str(link.readlink()).startswith(prefix):
                return True
    return False


def _bury() -> None:
    """Take notice of jobs that have ended, so that the system forgets them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(job: dict[str, Any], files: list[int], line: socket.socket) -> None:
    """Be the job's process: run the script, tell its exit status, and end."""
    ended = threading.Event()
    status = 1
    try:
        os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.umask(job["umask"])
        os.environ.clear()
        os.environ.update(job["environment"])
        _limit_threads()
        os.register_at_fork(after_in_child=line.close)
        threading.Thread(target=_end_with, args=[line.dup(), ended], daemon=True).start()
        line.sendall(f"{os.getpid()}\n".encode())
        run(job["script"], job["arguments"])
        status = 0
    except SystemExit as end:
        status = _told(end.code)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    ended.set()
    with contextlib.suppress(OSError):  # nobody waits any more
        line.sendall(f"{status}\n".encode())
    gc.freeze()
    sys.exit(status)


def _limit_threads() -> None:
    """Give libraries that read their number of threads when they were loaded the job's."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        import threadpoolctl  # type: ignore[import-untyped]

        threadpoolctl.threadpool_limits(int(threads))


def _end_with(line: socket.socket, ended: threading.Event) -> None:
    """End this process, and those that it started, when `job` ends first."""
    with contextlib.suppress(OSError):
        line.recv(1)
    if not ended.is_set():
        os.killpg(0, signal.SIGKILL)


def _told(code: object) -> int:
    """The status of an exit, after its message."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        return 1
    return code or 0


if __name__ == "__main__":
    main()
