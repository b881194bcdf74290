"""Scores of (query, passage) pairs, by a cross-encoder, a late interaction or a dense system's vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hardneg.data.judgements import Judgements
from hardneg.data.parquet import batches
from hardneg.errors import HardnegError
from hardneg.model.cross_encoder import CrossEncoder
from hardneg.model.embedding import autocast
from hardneg.model.late_interaction import LateInteraction
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.progress import Progress
from hardneg.text.pairs import PairStore
from hardneg.text.tokens import TokenStore

FILE = "scores.parquet"
PAIRS_AT_ONCE = 1 << 14
ROWS = 64
SCHEMA = pa.schema([("query", pa.int32()), ("passage", pa.int32()), ("score", pa.float32())])

# From query positions int64 [n] and passage positions int64 [n] to scores float32 [n].
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_cross_encoder(model: CrossEncoder, pairs: PairStore, rows: int, device: torch.device, precision: str) -> Score:
    """A scorer that uses a cross-encoder in evaluation mode, `rows` pairs in one forward pass."""
    model.to(device).eval()
    model.require_length(pairs.longest)

    @torch.inference_mode()
    def score(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        with autocast(device, precision):
            return model.score(pairs, queries, passages, rows, device).float().cpu().numpy()

    return score


def by_late_interaction(
    model: LateInteraction, stores: tuple[TokenStore, TokenStore], device: torch.device, precision: str
) -> Score:
    """A scorer that uses a late interaction in evaluation mode, `ROWS` pairs in one forward pass.

    Args:
        model: the late interaction.
        stores: of the queries and of the passages.
        device: where it scores.
        precision: of the backbone.
    """
    model.to(device).eval()
    model.require_length(max(store.longest for store in stores))

    @torch.inference_mode()
    def score(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        with autocast(device, precision):
            return model.score(stores, (queries, passages), ROWS).float().cpu().numpy()

    return score


def by_vectors(queries: Path, passages: VectorStore) -> Score:
    """A scorer that uses inner products of query vectors, `.npy` [queries, dim], and passage vectors."""
    asked = np.load(queries, mmap_mode="r")

    def score(query: np.ndarray, passage: np.ndarray) -> np.ndarray:
        found = np.einsum("nd,nd->n", np.asarray(asked[query], np.float32), passages.take(passage))
        return found.astype(np.float32)

    return score


def judged_pairs(judged: Judgements) -> tuple[np.ndarray, np.ndarray]:
    """The judged pairs of a split: query and passage positions, int64 [m] each."""
    query = np.repeat(np.arange(len(judged.offsets) - 1), np.diff(judged.offsets))
    return query, judged.keys - query * judged.passages


def listed_pairs(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of a run or of mined negatives, in parts: query and passage positions, int64 each."""
    for part in batches(run, ["query", "passage"], PAIRS_AT_ONCE):
        yield tuple(part.column(name).to_numpy().astype(np.int64) for name in ("query", "passage"))


def write_scores(
    parts: Iterator[tuple[np.ndarray, np.ndarray]],
    count: int,
    score: Score,
    target: Path,
    label: str,
    progress: Path | None = None,
) -> dict[str, int]:
    """Score pairs and write query int32, passage int32, score float32, in the order of the pairs.

    Args:
        parts: query and passage positions, part by part.
        count: number of pairs, for the progress bar.
        score: scores pairs.
        target: the file to write.
        label: for the progress bar.
        progress: where progress is written.

    Returns:
        Facts: the number of pairs.

    Raises:
        HardnegError: a score is not finite.
    """
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        Progress(label, count, "pairs", progress) as bar,
    ):
        for query, passage in parts:
            for start in range(0, len(query), PAIRS_AT_ONCE):
                asked, read = query[start : start + PAIRS_AT_ONCE], passage[start : start + PAIRS_AT_ONCE]
                scores = score(asked, read)
                if not np.isfinite(scores).all():
                    bad = int(np.flatnonzero(~np.isfinite(scores))[0])
                    raise HardnegError(
                        "The score of a pair is not finite.",
                        where=f"query {int(asked[bad])}, passage {int(read[bad])}",
                        found=str(scores[bad]),
                        remedy="the model has probably diverged in training: lower its train.lr.",
                    )
                columns = [asked.astype(np.int32), read.astype(np.int32), scores.astype(np.float32)]
                writer.write_table(pa.table(columns, SCHEMA))
                bar.advance(len(asked))
    return {"pairs": count}


def rerank(
    run: Path, score: Score, label: str, progress: Path | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Sort the hits of each query by new scores; ties keep the order of the run.

    Args:
        run: `run.<split>.parquet`, sorted by query and rank.
        score: scores pairs.
        label: for the progress bar.
        progress: where progress is written.

    Yields:
        Query, passage, rank (from 1) and score, of consecutive queries.
    """
    from hardneg.retrieval.runs import whole_queries

    with Progress(label, pq.ParquetFile(run).metadata.num_rows, "pairs", progress) as bar:
        for table in whole_queries(run):
            query, passage = (table[name].to_numpy().astype(np.int64) for name in ("query", "passage"))
            starts = range(0, len(query), PAIRS_AT_ONCE)
            parts = [score(query[at : at + PAIRS_AT_ONCE], passage[at : at + PAIRS_AT_ONCE]) for at in starts]
            scores = np.concatenate(parts) if parts else np.zeros(0, np.float32)
            order = np.lexsort((-scores, query))
            first = np.flatnonzero(np.diff(query[order], prepend=-1))
            rank = np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query))) + 1
            yield query[order], passage[order], rank, scores[order]
            bar.advance(len(query))
