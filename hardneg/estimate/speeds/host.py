"""The host: memory of an idle process, writing to disk, SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.estimate.speeds.clock import repeated, timed


def base_memory(device: str) -> int:
    """Bytes of this process's memory after loading what most stages load, and the device."""
    import faiss  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import hardneg.model.encoder  # noqa: F401

    torch.zeros(1, device=device)
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def disk_write(folder: Path, size: int) -> float:
    """Bytes per second, written sequentially and flushed.

    Raises:
        HardnegError: the disk cannot be written.
    """
    block = os.urandom(1 << 20)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as stream:
            for _ in range(size // len(block)):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())

    try:
        return size / timed(write)
    except OSError as fault:
        raise HardnegError(
            "Cannot write to the disk.",
            where=str(folder.parent.absolute()),
            found=str(fault),
            remedy="free some space, or fix the folder's permissions.",
        ) from None


def digest(seconds: float) -> float:
    """Bytes per second of SHA-256."""
    block = bytes(8 << 20)
    return len(block) / repeated(lambda: hashlib.sha256(block).digest(), seconds / 4)
