"""What all the commands share: arguments, the writer's lock, checked inputs, devices, sealing, readable errors."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardneg.errors import HardnegError, Stopped
from hardneg.stages.artifacts import Artifact, StageFolder, writer_lock
from hardneg.stages.devices import describe, lease, set_arithmetic_threads
from hardneg.stages.kinds import KINDS
from hardneg.stages.stage import name_of
from workflow_scripts.environment import RUN, RUNTIME, is_forced
from workflow_scripts.stored import made_here

# A file that may not grow is told like a disk that is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

NO_MEMORY = ("can't allocate memory", os.strerror(errno.ENOMEM), "std::bad_alloc")
"""What torch, the system and FAISS say where there is no memory for a process."""

DEVICE_FAULTS = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "NCCL error")
"""What torch and FAISS say where a device, its driver or its links fail."""

Run = Callable[[StageFolder, dict[str, Any], Sequence[str]], list[str]]


def stage_command(
    run: Run,
    description: str | None,
    options: Mapping[str, str] | None = None,
    lists: Mapping[str, str] | None = None,
) -> None:
    """Run one stage from the command line and exit.

    Args:
        run: given the stage to write, the runtime settings (with `options` and `lists` under their names) and the
            granted devices, it writes the stage's files and returns their names.
        description: the command's help.
        options: further whole-number arguments, name and help.
        lists: further lists of paths, name and help.
    """
    script = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=description, epilog=_roles(script))
    parser.add_argument(
        "--record", required=True, type=json.loads, help="the stage's record, JSON (`hardneg plan --json` prints it)"
    )
    parser.add_argument(
        "--runtime",
        type=json.loads,
        help=f"runtime settings, JSON (`hardneg plan --runtime` prints them; default: {RUNTIME} of the environment)",
    )
    parser.add_argument("--output", required=True, type=Path, help="the manifest to write; its files go beside it")
    parser.add_argument("--gpus", default=0, type=int, help="how many GPUs were granted")
    parser.add_argument("--force", action="store_true", help="make it again although it is finished")
    parser.add_argument("--inputs", nargs="*", default=[], type=Path, help="the manifests of its parents, in any order")
    for name, text in (lists or {}).items():
        parser.add_argument(f"--{name}", nargs="*", default=[], type=Path, help=text)
    for name, text in (options or {}).items():
        parser.add_argument(f"--{name}", required=True, type=int, help=text)
    given = parser.parse_args()
    given.runtime = given.runtime or json.loads(os.environ.get(RUNTIME, "null"))
    given.force = given.force or is_forced(script)
    with readable_errors(given.output.parent, given.output.name), made_here(given, list(lists or {})):
        _make(run, given, {name: getattr(given, name) for name in (*(options or {}), *(lists or {}))})


def _roles(script: str) -> str:
    """What the kinds of stages that a script makes may read."""
    roles = {role: text for kind in KINDS.values() if kind.script == script for role, text in kind.roles.items()}
    return "It may read " + "; ".join(f"{role}: {text}" for role, text in roles.items()) if roles else ""


def _make(run: Run, given: argparse.Namespace, extra: dict[str, Any]) -> None:
    record, output = given.record, given.output
    if given.runtime is None:
        raise HardnegError(
            "The runtime settings are not given.",
            where="--runtime",
            remedy=f'add --runtime "$(hardneg plan --runtime)", or set {RUNTIME} to that.',
        )
    lock = ".writer.lock" if output.name == "manifest.json" else f".{output.stem}.writer.lock"
    with writer_lock(output.parent, lock):
        if output.exists() and not given.force:
            print(f"{output} was finished by another process.", flush=True)
            return
        parents = open_parents(given.inputs, record)
        stage = StageFolder(output.parent, record, parents)
        if given.force:
            stage.forget(output)
        elif stage.restore(output):
            print(f"{output} was finished before; nothing of it had changed.", flush=True)
            return
        threads = record["settings"].get("threads")
        with lease(given.gpus, given.runtime["device"]) as granted:
            if threads is not None and "torch" in sys.modules:  # a script without torch does no arithmetic
                set_arithmetic_threads(threads)
            stage.cost |= {
                "device": describe(granted.devices),
                "devices": len(granted.devices),
                "cores": os.cpu_count(),
                "visible": list(granted.visible),
            }
            places = given.runtime["places"].get(name_of(record), {})
            stage.seal(output, run(stage, {**given.runtime, "places": places, **extra}, granted.devices))


def open_parents(inputs: Sequence[Path], record: Mapping[str, Any]) -> dict[str, Artifact]:
    """The stages that a record names as parents, by role, told by their versions.

    Raises:
        HardnegError: one is not given, is of another version, or is not as it was sealed.
    """
    given = {artifact.manifest["version"]: artifact for artifact in map(Artifact.open, inputs)}
    wanted: Mapping[str, str] = record["parents"]
    for role, version in wanted.items():
        if version not in given:
            others = [f"{a.folder} ({a.manifest['version']})" for v, a in given.items() if v not in wanted.values()]
            raise HardnegError(
                "An input is missing, or of another version than the plan asks for.",
                where="--inputs",
                found=", ".join(others) or "no other stage",
                expected=f"version {version}, for {role}",
                remedy="run the workflow again; it makes the right version.",
            )
    return {role: given[version] for role, version in wanted.items()}


@contextlib.contextmanager
def readable_errors(folder: Path | None = None, name: str = "") -> Iterator[None]:
    """Turn faults that the user can mend into one message on the standard error and exit status 1.

    A job that was told to stop, and can go on, ends with status 75 (EX_TEMPFAIL).

    Args:
        folder: where the job writes. What was told is kept there, so that a retry in the same run of Snakemake, which
            shows every log, does not tell it again.
        name: of the job's output.
    """
    try:
        yield
    except Stopped as asked:
        print(asked, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except Exception as fault:
        mendable = fault if isinstance(fault, HardnegError) else _mendable(fault, folder or Path.cwd())
        if mendable is None:
            raise
        message = f"error: {mendable}"
        if folder is not None and _was_told(message, folder / f".{name}.told"):
            message = "error: the same as before this retry, see above."
        sys.exit(message)


def _was_told(message: str, memory: Path) -> bool:
    """Whether this run of Snakemake told it before; from now on it did."""
    if RUN not in os.environ:
        return False
    telling = f"{os.environ[RUN]}\n{message}"
    with contextlib.suppress(OSError):  # a full disk, for one: then it is told again
        if memory.exists() and memory.read_text(encoding="utf-8") == telling:
            return True
        memory.write_text(telling, encoding="utf-8")
    return False


def _mendable(fault: Exception, folder: Path) -> HardnegError | None:
    """What a full disk, a file of others, too little memory or a failed device means for the user; else None."""
    full = isinstance(fault, OSError) and fault.errno in FULL
    # Libraries in other languages hand on the system's words only.
    if full or any(os.strerror(number) in str(fault) for number in FULL):
        return HardnegError(
            "The disk is full.",
            where=str(getattr(fault, "filename", None) or folder),
            found=str(fault).splitlines()[0],
            remedy="free space, then run the same command: it goes on where it was.",
        )
    if isinstance(fault, PermissionError | IsADirectoryError | NotADirectoryError):
        return HardnegError(
            f"A file cannot be used: {fault.strerror or fault}.",
            where=str(fault.filename or folder),
            remedy="correct its permissions, or move what is in its place, then run the same command.",
        )
    words = str(fault)
    if isinstance(fault, MemoryError) or any(part in words for part in NO_MEMORY):
        return HardnegError(
            "There is not enough memory.",
            found=words.splitlines()[0] if words else None,
            remedy="give the job more memory, or lower train.batch_size.",
        )
    if "out of memory" in words.lower():
        return HardnegError(
            "The device has not enough memory.",
            found=words.splitlines()[0],
            remedy="lower train.batch_size, encoder.passage_length or train.rows_per_forward.",
        )
    # An assertion on the device is a fault of the program, whose place matters.
    if any(part in words for part in DEVICE_FAULTS) and "device-side assert" not in words:
        return HardnegError(
            "A device failed.",
            found=words.splitlines()[0],
            remedy="run the same command: it goes on where it was. If that fails too, look for the device in the"
            " system's log (`dmesg`) and in `nvidia-smi`, and name another in CUDA_VISIBLE_DEVICES.",
        )
    return None
