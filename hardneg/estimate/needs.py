"""What a stage needs, and how times and sizes are written for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What a stage needs. None means not measured, or not computed.

    Attributes:
        seconds: wall time of the stage, with its jobs running side by side.
        memory: peak host memory of one of its processes, in bytes.
        disk: bytes of the files it leaves.
        gpu_memory: bytes of memory on one GPU; 0 if it uses none.
        scratch: bytes of disk it uses while running and frees at the end.
        processes: how many run side by side.
    """

    seconds: float | None
    memory: int | None
    disk: int | None
    gpu_memory: int | None = 0
    scratch: int = 0
    processes: int = 1


def time_text(seconds: float | None) -> str:
    """Seconds in a readable unit."""
    if seconds is None:
        return "not measured"
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size_text(size: int | None) -> str:
    """Bytes in a readable unit."""
    if size is None:
        return "not computed"
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size / (1 << 20):.1f} MiB"
