"""The machine an estimate is made for."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hardneg.stages.stage import ARTIFACTS


@dataclass(frozen=True)
class Machine:
    """What is available. Memory and disk are in bytes.

    Attributes:
        name: the measured device and the number of cores, for people.
        cores: CPU cores this process may use.
        memory: free host memory.
        disk: free space where artifacts are stored.
        gpus: number of GPUs to predict for; 0 without a GPU.
        gpu_memory: free memory of one GPU.
    """

    name: str
    cores: int
    memory: int
    disk: int
    gpus: int = 0
    gpu_memory: int = 0


def this_machine(device: str, gpus: int) -> Machine:
    """The machine this runs on. `gpus` is used only if `device` is a GPU."""
    from hardneg.stages.devices import describe

    count = cores()
    disk = shutil.disk_usage(ARTIFACTS if ARTIFACTS.exists() else ".").free
    name = f"{describe((device,))}, {count} core{'s' if count > 1 else ''}"
    if device == "cpu":
        return Machine(name, count, free_memory(), disk)
    import torch

    return Machine(name, count, free_memory(), disk, gpus, torch.cuda.mem_get_info(torch.device(device))[0])


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes available without swapping, on the machine or within the container's limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text(encoding="ascii").splitlines() if meminfo.exists() else []:
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="ascii").strip()).isdecimal():
        free = min(free, int(text) - int(used.read_text(encoding="ascii")))
    return free
