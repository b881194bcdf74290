"""Vectors cut to their first numbers (Matryoshka Representation Learning, Kusupati et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import atomic_path

ROWS_AT_ONCE = 65_536


def narrow(vectors: torch.Tensor, width: int, normalize: bool) -> torch.Tensor:
    """The first `width` numbers of vectors float32 [n, dim], scaled to length 1 again where the whole vectors are.

    Raises:
        HardnegError: the vectors are not as wide as that.
    """
    if width > vectors.shape[1]:
        raise HardnegError(
            "Vectors cannot be cut to more than they have.",
            where="encoder.dims",
            found=str(width),
            expected=f"at most {vectors.shape[1]}, the width of the encoder's vectors",
            remedy="lower it.",
        )
    if width == vectors.shape[1]:
        return vectors
    cut = vectors[:, :width]
    return torch.nn.functional.normalize(cut, dim=-1) if normalize else cut


def narrow_file(source: Path, target: Path, width: int, normalize: bool) -> None:
    """Write the vectors of an `.npy` file [n, dim] as another [n, width] of the same type; see `narrow`."""
    vectors = np.load(source, mmap_mode="r")
    shape = {"descr": vectors.dtype.str, "fortran_order": False, "shape": (len(vectors), width)}
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, shape)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            part = torch.from_numpy(np.array(vectors[start : start + ROWS_AT_ONCE], np.float32))
            stream.write(narrow(part, width, normalize).numpy().astype(vectors.dtype).tobytes())
