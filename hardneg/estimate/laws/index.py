"""FAISS indexes."""

from __future__ import annotations

import math
import re

from hardneg.estimate.laws.base import Law
from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage


class Index(Law):
    """Training and filling an index. Memory and disk are unknown where `index_bytes` cannot read the factory string."""

    def memory(self, stage: Stage, sizes: Sizes) -> int | None:
        """One file of the index, or the vectors it is trained on, whichever is larger; none where centroids are put."""
        if (size := self.disk(stage, sizes)) is None:
            return None
        file = math.ceil(size * min(1, stage.settings["rows_per_file"] / sizes.counts.passages))
        sample = _training_rows(stage, sizes) * sizes.dense.dim * 4
        return sizes.base_bytes + max(file, sample)

    def disk(self, stage: Stage, sizes: Sizes) -> int | None:
        """The index."""
        return index_bytes(stage.settings["factory"], sizes.counts.passages, sizes.dense.dim)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Training rows / rate + passages / rate, and the writing; only that where trained centroids are put."""
        seconds = 0.0
        if is_compressed(stage) and "model" not in stage.parents:
            if (speeds := measured.compressed.get(stage.settings["factory"])) is None:
                return None
            seconds = _training_rows(stage, sizes) / speeds.train + sizes.counts.passages / speeds.add
        return seconds + (self.disk(stage, sizes) or 0) / measured.disk_write


def index_bytes(factory: str, rows: int, dim: int) -> int | None:
    """Bytes of a FAISS index; None for a factory string other than those below.

    Bytes per row: Flat 4 dim; SQ8 dim; SQfp16 2 dim; PQ<M> M; PQ<M>x<b> ceil(M b / 8). A product quantiser also has
    2^b centroids of 4 dim bytes. A leading OPQ adds a matrix of 4 dim^2 bytes. A leading IVF<n> adds n centroids of
    4 dim bytes, and an id of 8 bytes per row.
    """
    *before, last = factory.split(",")
    if last == "Flat":
        total = rows * 4 * dim
    elif last in ("SQ8", "SQfp16"):
        total = rows * dim * (1 if last == "SQ8" else 2)
    elif match := re.fullmatch(r"PQ(\d+)(?:x(\d+))?(?:np)?", last):
        m, bits = int(match[1]), int(match[2] or 8)
        total = rows * math.ceil(m * bits / 8) + 2**bits * 4 * dim
    else:
        return None
    for part in before:
        if match := re.fullmatch(r"IVF(\d+)", part):
            total += int(match[1]) * 4 * dim + 8 * rows
        elif re.fullmatch(r"OPQ\d+", part):
            total += 4 * dim * dim
        else:
            return None
    return total


def is_compressed(index: Stage | None) -> bool:
    """Whether vectors are searched in an index that is not Flat."""
    return index is not None and index.settings["factory"] != "Flat"


def _training_rows(stage: Stage, sizes: Sizes) -> int:
    trains = is_compressed(stage) and "model" not in stage.parents
    return min(stage.settings["train_rows"], sizes.counts.passages) if trains else 0
