"""Encoding passages and queries; the vectors do not depend on how the work is divided into shards.

Floating-point results depend on the shape of a batch. So texts are divided into fixed blocks by position, sorted by
length within a block, and encoded in micro-batches that the block alone determines: of a fixed number of rows on a CPU,
of about as many tokens on a GPU. There is no padding where the backbone allows it. A shard consists of whole blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.encoder import Encoder
from hardneg.model.joined import join_in
from hardneg.model.packed import TOKENS, Packed, moved, packs
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress
from hardneg.text.tokens import TokenStore

BLOCK_ROWS = 2048
MICRO_ROWS = 64
"""Texts in a micro-batch on a CPU."""
MICRO_NUMBERS = 48 << 20
"""Numbers of a hidden layer of a micro-batch on a GPU: 65,536 tokens of an encoder that is 768 wide."""
WIDTH_BUCKET = 8


def shard_rows(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First and end row (exclusive) of shard `shard` (from 0) of `shards`: whole blocks, divided evenly."""
    blocks = -(-rows // BLOCK_ROWS)
    first, end = shard * blocks // shards, (shard + 1) * blocks // shards
    return min(first * BLOCK_ROWS, rows), min(end * BLOCK_ROWS, rows)


def prepared(encoder: Encoder, device: torch.device, precision: str) -> torch.autocast:
    """Put an encoder on a device for encoding; the context of its forward passes.

    It is for nothing else then: its weights may be rounded, and its layers joined.

    `auto` on a GPU is float16, and bf16 for a backbone whose weights are bf16. Float16 has three more bits of mantissa:
    all-MiniLM-L6-v2 ranks NFCorpus with .9994 of the ten best passages that float32 finds, and .994 in bf16. The
    backbone's weights are rounded once, not at every pass.
    """
    encoder.to(device).eval()
    if device.type == "cuda":
        if precision == "auto":
            precision = "bf16" if encoder.settings.get("weights") == "bfloat16" else "fp16"
        if precision == "fp16":
            rounded(encoder.backbone)
            precision = "fp32"
    context = autocast(device, precision)
    with context:
        if device.type == "cuda" and packs(encoder.backbone):
            join_in(encoder.backbone)
    return context


def rounded(backbone: nn.Module) -> None:
    """Round the weights of a backbone to float16.

    Its buffers stay: with the frequencies of rotary positions in float16, far positions would be off by whole turns.
    """
    for weight in backbone.parameters():
        weight.data = weight.data.half()


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

    The encoder is left as `prepared` leaves it.

    `rows` must begin and end at block boundaries, or at the end of the texts; see `shard_rows`.

    Raises:
        HardnegError: a vector is not finite, or texts are longer than the encoder's maximum.
    """
    first, end = rows
    encoder.require_length(store.longest)
    context = prepared(encoder, device, precision)
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        Progress(label, end - first, "passages", progress) as bar,
    ):
        shape = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (end - first, encoder.dim)}
        np.lib.format.write_array_header_1_0(stream, shape)
        before: _Encoded | None = None
        for start in range(first, end, BLOCK_ROWS):
            block = _encode_block(encoder, store, (start, min(start + BLOCK_ROWS, end)), context, device, bar)
            _write(before, dtype, stream)  # while a GPU computes this one
            before = block
            store.forget()
        _write(before, dtype, stream)


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


class _Encoded(NamedTuple):
    """The vectors of the block that begins at row `start`.

    Attributes:
        start: its first row.
        vectors: float32 [n, dim] on the host.
        ready: when they are there, if a GPU computes them; None: they are.
    """

    start: int
    vectors: torch.Tensor
    ready: torch.cuda.Event | None


def _write(block: _Encoded | None, dtype: str, stream: BinaryIO) -> None:
    """Wait for a block's vectors, check them and write them.

    Raises:
        HardnegError: one is not finite.
    """
    if block is None:
        return
    if block.ready is not None:
        block.ready.synchronize()
    vectors = block.vectors.numpy()
    if not np.isfinite(vectors).all():
        bad = block.start + int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise HardnegError(
            "The encoder produced a vector that is not finite.",
            where=f"text number {bad + 1}",
            found="NaN or infinity",
            expected="finite numbers",
            remedy="if arithmetic.precision is auto or fp16 on a GPU, set it to bf16 or fp32: float16 ends at 65,504. "
            "Otherwise the training of this encoder diverged: lower its lr.",
        )
    stream.write(vectors.astype(dtype).tobytes())


@torch.inference_mode()
def _encode_block(
    encoder: Encoder,
    store: TokenStore,
    rows: tuple[int, int],
    context: torch.autocast,
    device: torch.device,
    bar: Progress,
) -> _Encoded:
    """Encode rows `rows[0]` to `rows[1]`. A GPU may still be at it when this returns."""
    start, stop = rows
    positions = np.arange(start, stop)
    lengths = store.lengths(positions)
    order = np.argsort(lengths, kind="stable")
    vectors = torch.empty(stop - start, encoder.dim, device=device)
    for micro in micro_batches(lengths[order], encoder, device):
        chosen = order[micro]
        ids, mask = store.batch(positions[chosen], WIDTH_BUCKET)
        with context:
            vectors[moved(torch.from_numpy(chosen), device)] = encoded(encoder, ids, mask, device)
        bar.advance(len(chosen))
    if device.type != "cuda":
        return _Encoded(start, vectors, None)
    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
    host = torch.empty(vectors.shape, pin_memory=True)
    with torch.cuda.device(device):
        host.copy_(vectors, non_blocking=True)
        ready.record()
    return _Encoded(start, host, ready)


def encoded(encoder: Encoder, ids: np.ndarray, mask: np.ndarray, device: torch.device) -> torch.Tensor:
    """Vectors float32 [n, dim], on a device, of ids and mask int64 [n, width]; without padding where that can be."""
    if mask.any() and packs(encoder.backbone):
        texts = Packed.of(ids, mask, 1 if device.type == "cuda" else TOKENS)
        return encoder.packed(texts.on(device))
    made: torch.Tensor = encoder(*(moved(torch.from_numpy(each), device) for each in (ids, mask)))
    return made


def micro_batches(lengths: np.ndarray, encoder: Encoder, device: torch.device) -> Iterator[slice]:
    """The rows of each micro-batch of a block, whose texts have `lengths` [n], ascending."""
    if device.type != "cuda":
        yield from (slice(start, start + MICRO_ROWS) for start in range(0, len(lengths), MICRO_ROWS))
        return
    start = 0
    for row, length in enumerate(lengths):
        if row - start >= micro_rows(encoder, int(length), device):
            yield slice(start, row)
            start = row
    yield slice(start, len(lengths))


def micro_rows(encoder: Encoder, length: int, device: torch.device) -> int:
    """Texts in a micro-batch whose longest text has `length` tokens."""
    if device.type != "cuda":
        return MICRO_ROWS
    width = -(-max(length, 1) // WIDTH_BUCKET) * WIDTH_BUCKET
    return max(MICRO_NUMBERS // int(encoder.backbone.config.hidden_size) // width, 1)  # type: ignore[union-attr, arg-type]
