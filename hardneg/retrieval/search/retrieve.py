"""Runs from vectors: the choice of a searcher, and rankings for all queries of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from hardneg.retrieval.search.exact import WHOLE, ExactSearcher, Part
from hardneg.retrieval.search.index import FaissSearcher, ServedVectors
from hardneg.retrieval.search.sizes import HITS_AT_ONCE, QUERY_BATCH
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact
from hardneg.stages.progress import Progress

# The passages are read once for this many hits or batches of queries, whichever comes first.
BATCHES_AT_ONCE = 64


class Searcher(Protocol):
    """The interface of `ExactSearcher` and `FaissSearcher`."""

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions int64 and scores float32 [n, k'] of queries [n, dim], best first."""


class Served(Protocol):
    """The interface of `ExactVectors` and `ServedVectors`: the vectors whose inner products are the search's scores."""

    def query(self, queries: torch.Tensor) -> torch.Tensor:
        """Queries [n, dim], mapped to the space of the passage vectors: [n, dim']."""

    def take(self, positions: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The passage vectors at `positions` [n]: float32 [n, dim']."""


class ExactVectors:
    """The stored passage vectors, with which exact search scores; see `ServedVectors`."""

    def __init__(self, vectors: VectorStore) -> None:
        self.take = vectors.take

    def query(self, queries: torch.Tensor) -> torch.Tensor:
        """The queries, unchanged."""
        return queries


class Ranking(NamedTuple):
    """Rows of a run, sorted by query and rank: query, passage, rank (from 1), score; each of shape [rows]."""

    query: np.ndarray
    passage: np.ndarray
    rank: np.ndarray
    score: np.ndarray


def vectors_of(passages: Artifact) -> VectorStore:
    """The passage vectors of an encoding stage."""
    return VectorStore([passages.path(name) for name in passages.facts["shards"]])


def files_of(index: Artifact) -> list[Path]:
    """The files of an index, in the order of their rows."""
    return [index.path(name) for name in index.facts["files"]]


def open_searcher(
    passages: Artifact | None,
    index: Artifact | None,
    devices: Sequence[torch.device],
    query_batch: int = QUERY_BATCH,
    search: Mapping[str, int | None] | None = None,
    part: Part = WHOLE,
    once: bool = False,
) -> Searcher:
    """The exact searcher if passage vectors are given and the index is Flat or None; else FAISS.

    Args:
        passages: the passage vectors; None requires an index.
        index: the index; None searches exactly.
        devices: where to search; the work is spread over all of them.
        query_batch: queries in one matrix product, or in one call of FAISS.
        search: `nprobe` and `ef_search`, each None for FAISS's default; see `FaissSearcher`.
        part: of the passages, where several processes search exactly together; each searches a whole index alone.
        once: it is for one large search. A CPU then keeps no passages in memory.
    """
    if passages is not None and _is_exact(index):
        resident = False if once and devices[0].type == "cpu" else None
        return ExactSearcher(vectors_of(passages), devices, resident, query_batch, part)
    assert index is not None
    return FaissSearcher(files_of(index), devices, query_batch, **(search or {}))


def served_vectors(passages: Artifact, index: Artifact | None) -> Served:
    """The vectors that `open_searcher` scores with: the stored ones, or the index's decoded codes.

    Raises:
        HardnegError: see `hardneg.retrieval.search.factory.check_reconstruct`.
    """
    if _is_exact(index):
        return ExactVectors(vectors_of(passages))
    assert index is not None
    return ServedVectors(files_of(index), index.settings["factory"])


def _is_exact(index: Artifact | None) -> bool:
    return index is None or index.settings["factory"] == "Flat"


def retrieve(
    searcher: Searcher, queries: Path, depth: int, label: str, progress: Path | None = None
) -> Iterator[Ranking]:
    """Rank `depth` passages for each query vector of an `.npy` file [queries, dim]; yields consecutive parts."""
    vectors = np.load(queries, mmap_mode="r")
    at_once = QUERY_BATCH * min(max(HITS_AT_ONCE // (depth * QUERY_BATCH), 1), BATCHES_AT_ONCE)
    with Progress(label, len(vectors), "queries", progress) as bar:
        for start in range(0, len(vectors), at_once):
            chunk = torch.from_numpy(np.array(vectors[start : start + at_once]))
            positions, scores = (part.numpy() for part in searcher.search(chunk, depth))
            found = positions >= 0
            query, rank = np.nonzero(found)
            yield Ranking(query + start, positions[found], rank + 1, scores[found])
            bar.advance(len(chunk))
