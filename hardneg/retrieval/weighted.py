"""Passages whose words are repeated as often as their weights say, for an index of words (DeepCT)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hardneg.model.embedding import BLOCK_ROWS, MICRO_ROWS, autocast
from hardneg.model.term_weights import TermWeights
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress
from hardneg.text.terms import NOWHERE, Read, Reader

SCHEMA = pa.schema([("text", pa.string())])


class Weighing(NamedTuple):
    """How passages are weighed.

    Attributes:
        model: the trained weights.
        read: from texts to tokens.
        pad: the padding token.
        scale: a weight of 1 is so many occurrences.
        device: where it weighs.
        precision: of the backbone.
    """

    model: TermWeights
    read: Reader
    pad: int
    scale: int
    device: torch.device
    precision: str


def occurrences(weights: npt.NDArray[np.float32], scale: int) -> npt.NDArray[np.int64]:
    """How often words are written, int64 [n]: their weights times `scale`, rounded; none below 0."""
    return np.rint(np.maximum(weights.astype(np.float64), 0) * scale).astype(np.int64)


def repeated(words: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """A text that has each word as often as its count says; a word of count 0 is left out."""
    return " ".join(word for word, count in zip(words, counts.tolist(), strict=True) for _ in range(count))


def write_weighted(
    passages: Iterable[str], count: int, how: Weighing, target: Path, label: str, progress: Path | None = None
) -> dict[str, int]:
    """Write `texts.parquet`: the text of each passage with its words repeated, in order of position.

    A word's weight is that of its first token. Words beyond the greatest length have none and are left out.

    Args:
        passages: texts of all passages, in order of position.
        count: number of passages, for the progress bar.
        how: how they are weighed.
        target: the file to write.
        label: for the progress bar.
        progress: where progress is written.

    Returns:
        Facts: words of all passages; those dropped for a weight that rounds to 0; those beyond the greatest length.
    """
    from hardneg.data.prepare import in_groups  # which imports pandas

    how.model.to(how.device).eval()
    facts = {"words": 0, "dropped": 0, "beyond": 0}
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        Progress(label, count, "passages", progress) as bar,
    ):
        for block in in_groups(passages, BLOCK_ROWS):
            texts, read = [], how.read(block)
            for each, weights in zip(read, _weights(read, how), strict=True):
                inside = each.first != NOWHERE
                counts = np.where(inside, occurrences(weights, how.scale), 0)
                texts.append(repeated(each.words, counts))
                facts["words"] += len(counts)
                facts["beyond"] += int((~inside).sum())
                facts["dropped"] += int((inside & (counts == 0)).sum())
            writer.write_table(pa.table([texts], SCHEMA))
            bar.advance(len(block))
    return facts


@torch.inference_mode()
def _weights(read: Sequence[Read], how: Weighing) -> list[npt.NDArray[np.float32]]:
    """The weight of each word of some texts, 0 where it has no token; texts of similar length are read together."""
    found = [np.zeros(len(each.words), np.float32) for each in read]
    order = sorted(range(len(read)), key=lambda row: len(read[row].ids))
    for start in range(0, len(order), MICRO_ROWS):
        rows = order[start : start + MICRO_ROWS]
        width = -(-max(len(read[row].ids) for row in rows) // 8) * 8
        ids = np.full((len(rows), max(width, 8)), how.pad, np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(read[row].ids)], mask[place, : len(read[row].ids)] = read[row].ids, 1
        with autocast(how.device, how.precision):
            weights = how.model(torch.from_numpy(ids).to(how.device), torch.from_numpy(mask).to(how.device))
        values = weights.float().cpu().numpy()
        for place, row in enumerate(rows):
            inside = read[row].first != NOWHERE
            found[row][inside] = values[place, read[row].first[inside]]
    return found
