"""Blocks of passage vectors, read for a device that multiplies them."""

from __future__ import annotations

import math
import warnings

import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search.vectors import VectorStore

ALIGNMENT = 64  # bytes; MKL guarantees equal results only for equal alignment


def rows_of(vectors: VectorStore, start: int, size: int, multiple: int) -> torch.Tensor:
    """At most `size` rows from `start` on, in the host's memory: float32 [n, dim], zero-padded to a multiple.

    Where nothing must be padded or converted, they are mapped, and what is not used is not read.
    """
    stop = min(start + size, vectors.rows)
    mapped = vectors.mapped(start, stop)
    if mapped is not None and len(mapped) % multiple == 0 and mapped.ctypes.data % ALIGNMENT == 0:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(mapped)
    block = torch.zeros(-(-(stop - start) // multiple) * multiple, vectors.dim)
    block[: stop - start] = torch.from_numpy(vectors.block(start, stop))
    return block


def checked_rows(vectors: VectorStore, start: int, size: int, multiple: int) -> torch.Tensor:
    """The same rows, all of which are read.

    Raises:
        HardnegError: a vector is not finite.
    """
    block = rows_of(vectors, start, size, multiple)
    require_finite(block, "passage", start)
    return block


def require_finite(rows: torch.Tensor, what: str, first: int) -> None:
    """Refuse vectors that contain NaN or infinity.

    Args:
        rows: [n, dim] float.
        what: "query" or "passage", for the message.
        first: position of the first row, for the message.

    Raises:
        HardnegError: a vector is not finite; names the first one.
    """
    if math.isfinite(torch.linalg.vector_norm(rows)):  # one pass over them
        return
    finite = rows.isfinite()
    if not finite.all():  # else squares have overflowed
        row = int(finite.all(dim=1).logical_not().nonzero()[0])
        raise HardnegError(
            f"A {what} vector is not finite: the encoder diverged.",
            found=f"{float(rows[row][~finite[row]][0])} in the vector at {what} position {first + row}",
            remedy="train the encoder again with a lower learning rate or in full precision, then encode again.",
        )
