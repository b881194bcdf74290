"""Encoding passages and queries; the vectors do not depend on how the work is divided into shards.

Floating-point results depend on the shape of a batch. So texts are divided into fixed blocks by position, sorted by
length within a block, and encoded in micro-batches of a fixed number of rows and of rounded width. A shard consists of
whole blocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hardneg.errors import HardnegError
from hardneg.model.encoder import Encoder
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress
from hardneg.text.tokens import TokenStore

BLOCK_ROWS = 2048
MICRO_ROWS = 64
WIDTH_BUCKET = 8


def shard_rows(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First and end row (exclusive) of shard `shard` (from 0) of `shards`: whole blocks, divided evenly."""
    blocks = -(-rows // BLOCK_ROWS)
    first, end = shard * blocks // shards, (shard + 1) * blocks // shards
    return min(first * BLOCK_ROWS, rows), min(end * BLOCK_ROWS, rows)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The mixed-precision context of a precision setting; `auto` is bf16 on a GPU and float32 on a CPU."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def encode_passages(
    encoder: Encoder,
    store: TokenStore,
    target: Path,
    rows: tuple[int, int],
    *,
    dtype: str,
    precision: str,
    device: torch.device,
    label: str,
    progress: Path | None = None,
) -> None:
    """Write the vectors of rows `rows[0]` to `rows[1]` as `.npy` [n, dim] of `dtype` (float32 or float16).

    `rows` must begin and end at block boundaries, or at the end of the texts; see `shard_rows`.

    Raises:
        HardnegError: a vector is not finite, or texts are longer than the encoder's maximum.
    """
    first, end = rows
    encoder.require_length(store.longest)
    encoder.to(device).eval()
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        Progress(label, end - first, "passages", progress) as bar,
    ):
        shape = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (end - first, encoder.dim)}
        np.lib.format.write_array_header_1_0(stream, shape)
        for start in range(first, end, BLOCK_ROWS):
            block = _encode_block(encoder, store, start, min(start + BLOCK_ROWS, end), precision, device, bar)
            stream.write(block.astype(dtype).tobytes())


def encode_queries(
    encoder: Encoder,
    store: TokenStore,
    target: Path,
    *,
    precision: str,
    device: torch.device,
    label: str,
    progress: Path | None = None,
) -> None:
    """Write the vectors of all queries of a split as float32 `.npy` [queries, dim]."""
    encode_passages(
        encoder,
        store,
        target,
        (0, len(store)),
        dtype="float32",
        precision=precision,
        device=device,
        label=label,
        progress=progress,
    )


@torch.inference_mode()
def _encode_block(
    encoder: Encoder, store: TokenStore, start: int, stop: int, precision: str, device: torch.device, bar: Progress
) -> np.ndarray:
    positions = np.arange(start, stop)
    order = np.argsort(store.lengths(positions), kind="stable")
    vectors = np.empty((stop - start, encoder.dim), np.float32)
    for at in range(0, len(order), MICRO_ROWS):
        chosen = order[at : at + MICRO_ROWS]
        filled = np.resize(chosen, MICRO_ROWS)  # a short micro-batch is padded with repeated rows
        ids, mask = store.batch(positions[filled], WIDTH_BUCKET)
        with autocast(device, precision):
            made = encoder(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        vectors[chosen] = made[: len(chosen)].float().cpu().numpy()
        bar.advance(len(chosen))
    if not np.isfinite(vectors).all():
        bad = start + int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise HardnegError(
            "The encoder produced a vector that is not finite.",
            where=f"text number {bad + 1}",
            found="NaN or infinity",
            expected="finite numbers",
            remedy="the training of this encoder diverged: lower its lr, or use fp32.",
        )
    return vectors
