"""Arrays mapped from files."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def forget(array: npt.NDArray[Any]) -> None:
    """Give back the memory of what was read of an array, if it is mapped. It is read again when it is used again."""
    holder: Any = array
    while isinstance(holder, np.ndarray):
        holder = holder.base
    if isinstance(holder, mmap.mmap):
        holder.madvise(mmap.MADV_DONTNEED)
