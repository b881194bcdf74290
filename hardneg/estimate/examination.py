"""What of a machine and an installation would not work, found in seconds before a run finds it in hours."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from hardneg.errors import HardnegError
from hardneg.estimate.machine import cores, free_memory

PYTHONS = ((3, 11), (3, 13))
NEEDED = ("torch", "transformers", "tokenizers", "pyarrow", "pandas", "pyserini", "snakemake", "safetensors")
LITTLE_DISK = 10 << 30
LITTLE_MEMORY = 4 << 30
TRIED_BYTES = 64 << 20
SLOW_WRITE = 20e6
"""Bytes a second; checkpoints of a base-sized model would take a minute."""
TRY_LOCK = (
    "import sys, filelock\n"
    "try:\n"
    "    filelock.FileLock(sys.argv[1]).acquire(blocking=False)\n"
    "except filelock.Timeout:\n"
    "    sys.exit(3)\n"
)


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        level: ok; note, which may matter to some; wrong, which ends a run or falsifies it.
        what: the thing.
        found: what was found.
        remedy: what to do; empty if nothing.
    """

    level: Literal["ok", "note", "wrong"]
    what: str
    found: str
    remedy: str = ""


def examined(folder: Path) -> Iterator[Finding]:
    """Examine this machine, and a project's folder; the quick things first.

    A check that fails itself is a finding.
    """
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _faiss,
        _java,
        _devices,
        _memory,
        _disk,
        _locks,
        _slurm,
    )
    for check in checks:
        try:
            yield from check(folder)
        except HardnegError as fault:
            yield Finding("wrong", check.__name__.strip("_"), str(fault))
        except (OSError, subprocess.SubprocessError, ImportError) as fault:
            yield Finding("wrong", check.__name__.strip("_"), f"{type(fault).__name__}: {fault}")


def _python(folder: Path) -> Iterator[Finding]:
    least, most = PYTHONS
    fits = least <= sys.version_info[:2] <= most
    wanted = f"use Python {least[0]}.{least[1]} to {most[0]}.{most[1]}."
    yield Finding("ok" if fits else "wrong", "Python", platform.python_version(), "" if fits else wanted)


def _packages(folder: Path) -> Iterator[Finding]:
    versions = {name: _version(name) for name in NEEDED}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Finding("wrong", "packages", f"{', '.join(missing)}: not installed", "make install")
    yield Finding("ok", "packages", ", ".join(f"{name} {version}" for name, version in versions.items() if version))


def _faiss(folder: Path) -> Iterator[Finding]:
    builds = {name: version for name in ("faiss-cpu", "faiss-gpu") if (version := _version(name))}
    told = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) == 1:
        import faiss

        yield Finding("ok", "FAISS", f"{told}, {faiss.get_compile_options().strip()}")
    elif builds:
        yield Finding("wrong", "FAISS", told, "uninstall both, then install one: they are the same module.")
    else:
        yield Finding("wrong", "FAISS", "not installed", "pip install '.[cpu]', or '.[gpu]' on a machine with GPUs.")


def _java(folder: Path) -> Iterator[Finding]:
    from hardneg.retrieval.java import find_java

    java = find_java()
    yield Finding("ok", "Java", f"{java.version} ({java.source}) at {java.home}")


def _devices(folder: Path) -> Iterator[Finding]:
    import torch

    built = f"torch {torch.__version__}, built for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPUs'}"
    tool = shutil.which("nvidia-smi")
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=60) if tool else None
    names = listed.stdout.splitlines() if listed is not None and listed.returncode == 0 else []
    if listed is not None and listed.returncode != 0:
        said = (listed.stderr or listed.stdout).strip()
        yield Finding("wrong", "NVIDIA driver", said, "reinstall the driver, or set runtime.device: cpu.")
    if not names:
        yield Finding("ok", "devices", f"no GPU; {built}")
    elif not torch.cuda.is_available():
        remedy = "install a torch for this driver, and '.[gpu]'; or set runtime.device: cpu."
        yield Finding("wrong", "devices", f"{len(names)} GPUs that torch cannot use; {built}", remedy)
    else:
        yield Finding("ok", "devices", f"{'; '.join(names)}; {built}")


def _memory(folder: Path) -> Iterator[Finding]:
    free = free_memory()
    found = f"{cores()} cores, {free / 2**30:.1f} GiB of memory free"
    little = free < LITTLE_MEMORY
    yield Finding("note" if little else "ok", "memory", found, "close other programs, or see `hardneg estimate`.")


def _disk(folder: Path) -> Iterator[Finding]:
    trial = folder / f".hardneg-doctor-{os.getpid()}"
    block = os.urandom(1 << 20)
    try:
        started = time.monotonic()
        with trial.open("wb") as stream:
            for _ in range(TRIED_BYTES // len(block)):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        speed = TRIED_BYTES / (time.monotonic() - started)
    finally:
        trial.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free at {folder}, writes {speed / 1e6:.0f} MB/s"
    if free < LITTLE_DISK:
        yield Finding("note", "disk", found, "see `hardneg estimate` for what a study needs, and `hardneg prune`.")
    elif speed < SLOW_WRITE:
        yield Finding("note", "disk", found, "raise runtime.checkpoint_seconds, or work on a faster disk.")
    else:
        yield Finding("ok", "disk", found)


def _locks(folder: Path) -> Iterator[Finding]:
    """Two processes must not hold one lock, or two writers of a stage destroy each other."""
    import filelock

    path = folder / f".hardneg-doctor-{os.getpid()}.lock"
    try:
        with filelock.FileLock(path):
            second = subprocess.run([sys.executable, "-c", TRY_LOCK, str(path)], capture_output=True, timeout=60)
    finally:
        path.unlink(missing_ok=True)
    if second.returncode == 3:
        yield Finding("ok", "file locks", f"keep two processes apart at {folder}")
    else:
        remedy = "work on a file system with locks (NFS: mount it without `nolock`)."
        yield Finding("wrong", "file locks", f"two processes held one lock at {folder}", remedy)


def _slurm(folder: Path) -> Iterator[Finding]:
    plugin = find_spec("snakemake_executor_plugin_slurm") is not None
    if shutil.which("sbatch") is None:
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        partitions = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, timeout=30)
        if partitions.returncode != 0:
            said = partitions.stderr.strip().partition("\n")[0]
            yield Finding("note", "Slurm", said, "submit from a machine that sinfo answers on.")
            return
        found = f"partitions {', '.join(partitions.stdout.split())}"
        remedy = "" if plugin else "pip install '.[slurm]' to submit jobs."
        yield Finding("ok" if plugin else "note", "Slurm", found, remedy)
        return
    yield Finding("note", "Slurm", "sinfo does not answer within 30 s", "ask who runs the cluster.")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
