"""Device leases: which devices a job may use, so that parallel jobs on one host never share one.

Snakemake counts GPUs but does not assign them: four one-GPU jobs on a host all see every GPU. So each job leases its
devices with one file lock a device. It holds the locks while it runs; the kernel releases them however it ends. The
locks are in a private folder under the temporary folder, or in HARDNEG_LEASE_DIR, which several users may share.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from hardneg.errors import HardnegError

VISIBLE = "CUDA_VISIBLE_DEVICES"
PRETEND = "HARDNEG_PRETEND_DEVICES"
FOLDER = "HARDNEG_LEASE_DIR"
REQUESTS = ("auto", "cpu", "cuda")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
LARGEST_INT = 2**31 - 1

POLL_SECONDS = 0.5
DRIVER_SECONDS = 120.0
NOTHING_VISIBLE = ("", "-1", "NoDevFiles")  # CUDA stops reading at such an entry; old Slurm versions set the last
DRIVER = Path("/dev/nvidiactl")
LISTER = "nvidia-smi"
LISTED = re.compile(r"^(?:GPU (\d+)|\s+MIG).*\(UUID: ([^)]+)\)", re.MULTILINE)
LIST_WITH_TORCH = (
    "import torch\n"
    "for n in range(torch.cuda.device_count()):\n"
    "    print(f'GPU {n}: (UUID: GPU-{torch.cuda.get_device_properties(n).uuid})')"
)


@dataclass(frozen=True)
class Granted:
    """The devices that a job may use.

    Attributes:
        devices: torch device names, such as ("cuda:0", "cuda:1") or ("cpu",).
        visible: the entries of CUDA_VISIBLE_DEVICES during the lease, in the same order; empty on the CPU.
    """

    devices: tuple[str, ...]
    visible: tuple[str, ...]


@contextlib.contextmanager
def lease(count: int, request: str = "auto") -> Iterator[Granted]:
    """Lease `count` devices for this process and its children. Enter it before torch initialises CUDA.

    Waits until enough devices are free, and holds none while it waits. Grants fewer if the host has fewer. If
    CUDA_VISIBLE_DEVICES is set, the lease takes some of the devices that it lists: those that a scheduler assigned to
    this job, or that a person chose for all jobs of a run. HARDNEG_PRETEND_DEVICES=4 simulates four devices that
    compute on the CPU, to test scheduling.

    Args:
        count: how many devices the job may use; 0 runs on the CPU.
        request: "cpu", "cuda", or "auto": CUDA if available, else the CPU.

    Raises:
        HardnegError: CUDA is requested and not available; CUDA_VISIBLE_DEVICES lists a device that does not exist; the
            driver does not answer; or the lease folder cannot be used.
        RuntimeError: torch has already initialised CUDA with other devices (a programming error).
    """
    if request not in REQUESTS:
        raise HardnegError("Unknown device.", where="device", found=request, expected=", ".join(REQUESTS))
    wanted = 0 if request == "cpu" else count
    choice = _choice() if wanted else {}
    if wanted and not choice and request == "cuda":
        raise _no_cuda()
    with contextlib.ExitStack() as held:
        visible = tuple(_take(choice, min(wanted, len(choice)), held))
        held.enter_context(_visible(",".join(visible)))
        on_cpu = not visible or bool(os.environ.get(PRETEND))
        yield Granted(tuple("cpu" if on_cpu else f"cuda:{number}" for number in range(len(visible) or 1)), visible)


def check_visible() -> None:
    """Check CUDA_VISIBLE_DEVICES before any job starts. Does not import torch; does nothing if it is unset.

    Raises:
        HardnegError: it lists a device that does not exist, or the driver does not answer.
    """
    if VISIBLE in os.environ:
        _choice()


def check_cuda() -> None:
    """Check that there is a CUDA device before any job starts.

    Raises:
        HardnegError: there is none, or as `check_visible`.
    """
    if not _choice():
        raise _no_cuda()


def _no_cuda() -> HardnegError:
    hidden = f"{VISIBLE}={os.environ[VISIBLE]!r}" if VISIBLE in os.environ else None
    return HardnegError(
        "CUDA is requested, but there is no CUDA device.",
        where="runtime.device",
        found=f"{hidden}, which hides every device" if hidden else "the NVIDIA driver lists no device",
        remedy=f"{f'unset {VISIBLE}' if hidden else 'check nvidia-smi -L'}, or set runtime.device: auto.",
    )


def set_arithmetic_threads(n: int) -> None:
    """Make arithmetic reproducible: `n` threads in torch and FAISS, deterministic kernels, full float32.

    The number of threads is a scientific setting and part of a stage's version. It determines how sums are split, so
    another number changes the last digits, and after some training steps the model. The same number reproduces results
    exactly, even on fewer cores. So it never follows Snakemake's `{threads}` or the machine. TF32 is off, since it
    rounds the inputs of float32 products to 10 bits of mantissa, on some devices only.

    Args:
        n: threads, at least 1. If FAISS is imported later, it reads OMP_NUM_THREADS.
    """
    import torch

    os.environ["OMP_NUM_THREADS"] = str(n)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS refuses to be deterministic
    torch.set_num_threads(n)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(n)
    # The moments of rare tokens decay to denormal numbers, with which CPUs are many times slower. OpenMP's threads
    # inherit the mode, so it must be set before the first of them starts.
    torch.set_flush_denormal(True)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 2 s a process
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a debugging aid, 8% of a step
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    _keep_memory()


def _keep_memory() -> None:
    """Have the C library keep freed memory for the next tensor, until the process ends.

    glibc maps large tensors one by one. The kernel clears each before its first use, which takes a fifth of the time of
    an encoder's forward pass. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            library.mallopt(M_MMAP_MAX, 0)
            library.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def describe(devices: Sequence[str]) -> str:
    """Device names for cost records: "NVIDIA H200", "4 x NVIDIA H200", or the CPU's model."""
    counts = Counter(_cuda_name(device) for device in devices if device != "cpu")
    names = [name if count == 1 else f"{count} x {name}" for name, count in counts.items()]
    return ", ".join([*names, _cpu_name()] if "cpu" in devices else names)


def _cuda_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _choice() -> dict[str, str]:
    """The devices that this process may choose from, in order: UUID to name in CUDA_VISIBLE_DEVICES.

    Locks are named by UUID, which is the same inside containers and Slurm jobs, where numbers restart at 0.
    """
    if VISIBLE not in os.environ:
        return {uuid: uuid for number, uuid in _present() if number}
    named = [entry.strip() for entry in os.environ[VISIBLE].split(",")]
    entries = list(itertools.takewhile(lambda entry: entry not in NOTHING_VISIBLE, named))
    present = _present() if entries else []
    choice: dict[str, str] = {}
    for entry in entries:
        by_uuid = not entry.isdecimal()  # CUDA accepts numbers and prefixes of UUIDs
        uuids = [uuid for number, uuid in present if entry == number or (by_uuid and uuid.startswith(entry))]
        if not uuids:
            raise HardnegError(
                f"{VISIBLE} lists a device that does not exist.",
                where=f"{VISIBLE}={os.environ[VISIBLE]}",
                found=entry,
                expected=", ".join(number or uuid for number, uuid in present) or "none: there is no CUDA device",
                remedy=f"unset {VISIBLE}, or use devices that nvidia-smi -L lists.",
            )
        choice[uuids[0]] = entry
    return choice


def _present() -> list[tuple[str, str]]:
    """Number and UUID of the host's devices; MIG instances have an empty number.

    Queried in another process, since this one must not touch CUDA before its devices are chosen.
    """
    if pretended := os.environ.get(PRETEND):
        if not pretended.isdecimal():
            raise HardnegError(
                "The number of simulated devices is not a whole number.",
                where=PRETEND,
                found=pretended,
                expected="such as 4",
            )
        return [(str(number), str(number)) for number in range(int(pretended))]
    if tool := shutil.which(LISTER):
        command = [tool, "-L"]
    elif DRIVER.exists():  # a container may have the driver without its tools
        command = [sys.executable, "-c", LIST_WITH_TORCH]
    else:
        return []
    everything = {name: value for name, value in os.environ.items() if name != VISIBLE}
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, env=everything)
    except subprocess.TimeoutExpired:
        raise HardnegError(
            "The NVIDIA driver does not answer.",
            found=f"no list of devices within {DRIVER_SECONDS:.0f} s",
            remedy="check nvidia-smi, or set runtime.device: cpu.",
        ) from None
    if listing.returncode != 0:
        print(f"no CUDA device: {(listing.stderr or listing.stdout).strip()}", flush=True)
        return []
    return LISTED.findall(listing.stdout)


def _take(choice: dict[str, str], count: int, held: contextlib.ExitStack) -> list[str]:
    """Lock `count` devices of `choice` as soon as that many are free; `held` takes over the locks."""
    if count == 0:
        return []
    folder = _lease_folder()
    told = False
    while True:
        # One job at a time tries, and keeps all locks or none: otherwise two jobs could deadlock, each with half.
        with filelock.FileLock(folder / "looking.lock"), contextlib.ExitStack() as locks:
            taken: list[str] = []
            for uuid, entry in choice.items():
                if len(taken) < count:
                    with contextlib.suppress(filelock.Timeout):
                        locks.enter_context(filelock.FileLock(folder / f"{uuid}.lock").acquire(blocking=False))
                        taken.append(entry)
            if len(taken) == count:
                held.push(locks.pop_all())
                return taken
        if not told:
            print(f"waiting: {count} of {len(choice)} devices needed, {len(taken)} free (leases: {folder})", flush=True)
            told = True
        time.sleep(POLL_SECONDS)


def _lease_folder() -> Path:
    """The folder of the locks. The default folder must be private, or other users could hold locks in it."""
    given = os.environ.get(FOLDER)
    folder = Path(given or f"{tempfile.gettempdir()}/hardneg-leases-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as fault:
        problem: str | None = fault.strerror or str(fault)
    else:
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
        problem = None if given or own else "a link, owned by another user, or accessible to others"
    if problem:
        raise HardnegError(
            "The folder of device leases cannot be used.",
            where=str(folder),
            found=problem,
            remedy=f"remove it, or set {FOLDER} to a folder of your own.",
        )
    return folder


@contextlib.contextmanager
def _visible(setting: str) -> Iterator[None]:
    """Set CUDA_VISIBLE_DEVICES inside the block."""
    before = os.environ.get(VISIBLE)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized() and setting not in ("", before):
        raise RuntimeError("lease() was entered after CUDA was initialised, when devices can no longer be chosen.")
    os.environ[VISIBLE] = setting
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before
