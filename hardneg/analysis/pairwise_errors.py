"""Pairwise errors (Zhan et al., section 4, Table 1, Figure 3): non-relevant passages above a relevant one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import torch

from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.model.products import product
from hardneg.retrieval.search.blocks import require_finite
from hardneg.retrieval.search.exact import checked_queries
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.retrieval.search.sizes import BLOCK, QUERY_BATCH
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact
from hardneg.stages.progress import Progress


def read_relevant(collection: Artifact, split: str, relevant_grade: int) -> Judgements:
    """The judgements of a split whose grade is at least `relevant_grade`.

    Raises:
        HardnegError: there are none.
    """
    path = collection.path(f"qrels.{split}.parquet")
    qrels = pq.read_table(path, columns=["query", "passage", "grade"])
    query, passage, grade = (column.to_numpy() for column in qrels.columns)
    high = grade >= relevant_grade
    if not high.any():
        raise HardnegError(
            "The split has no relevant passages.",
            where=str(path),
            found="no judgement" if not len(grade) else f"grades up to {grade.max()}",
            expected=f"a grade of {relevant_grade} or more",
            remedy="lower evaluation.relevant_grade.",
        )
    queries = collection.facts["splits"][split]["queries"]
    return Judgements(query[high], passage[high], grade[high], queries, collection.facts["passages"])


def pairwise_errors(
    parents: Mapping[str, Artifact], settings: Mapping[str, Any], device: torch.device, progress: Path | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Count the pairwise errors of each relevant passage d+ of each query q.

        e(q, d+) = #{d not relevant to q : s(q, d) > s(q, d+)},   e_K(q, d+) = min(e(q, d+), K)

    Unjudged passages count as not relevant. Ties are not errors.

    Args:
        parents: `collection`, `passages` and `queries` (vectors).
        settings: `split`, `k` (K), `relevant_grade` (the lowest relevant grade).
        device: where to compute inner products.
        progress: where progress is written.

    Returns:
        query (int32), passage (int32), errors and top_k (int64): one row for each relevant passage, by query, then by
        passage.

        Facts: k, queries (with a relevant passage), positives, and the means of errors (total) and of top_k over
        queries and over relevant passages.

    Raises:
        HardnegError: as `read_relevant` and `count_above`.
    """
    relevant = read_relevant(parents["collection"], settings["split"], settings["relevant_grade"])
    queries = np.load(parents["queries"].path(f"queries.{settings['split']}.npy"))
    query, passage = np.divmod(relevant.keys, relevant.passages)
    vectors = vectors_of(parents["passages"])
    errors = count_above(vectors, queries, query, passage, device, left_out=relevant, progress=progress)
    cut = np.minimum(errors, settings["k"])
    rows = {"query": query.astype(np.int32), "passage": passage.astype(np.int32), "errors": errors, "top_k": cut}
    asked, positives = len(relevant.with_positives()), len(query)
    return pd.DataFrame(rows), {
        "k": settings["k"],
        "queries": asked,
        "positives": positives,
        "total_per_query": int(errors.sum()) / asked,
        "top_k_per_query": int(cut.sum()) / asked,
        "total_per_positive": int(errors.sum()) / positives,
        "top_k_per_positive": int(cut.sum()) / positives,
    }


def count_above(
    vectors: VectorStore,
    queries: npt.NDArray[np.float32],
    pair_query: npt.NDArray[np.integer],
    pair_passage: npt.NDArray[np.integer],
    device: torch.device,
    *,
    left_out: Judgements | None = None,
    progress: Path | None = None,
) -> npt.NDArray[np.int64]:
    """Count, for each (query, passage) pair, the passages of the collection that score strictly above it.

    Passages are read once, in fixed blocks, so that memory holds one block and the result does not depend on shards.
    A pair's own score comes from a product of the same shape. So it equals, to the last bit, the score of the same
    passage in its block and of its duplicates, which are ties and do not count.

    Args:
        vectors: vectors of all passages.
        queries: query vectors, float32 [n, dim].
        pair_query: [m] rows of `queries`.
        pair_passage: [m] passage positions.
        device: where to compute inner products.
        left_out: passages that are not counted for a query, by row of `queries`.
        progress: where progress is written.

    Returns:
        int64 [m].

    Raises:
        HardnegError: a vector is not finite, or queries and passages differ in width.
    """
    products = _Products(vectors.dim, device)
    asked = checked_queries(torch.from_numpy(queries), vectors.dim).to(device)
    batches = []
    for start in range(0, len(pair_query), QUERY_BATCH):
        part = slice(start, start + QUERY_BATCH)
        rows = torch.from_numpy(pair_query[part].astype(np.int64)).to(device)
        products.load(vectors.take_once(pair_passage[part]))
        own = products.of(asked[rows]).diagonal().clone()
        batches.append((part, rows, own, *_left_out(pair_query[part], left_out)))
    counts = torch.zeros(len(pair_query), dtype=torch.int64, device=device)
    with Progress("count passages above", vectors.rows, "passages", progress) as bar:
        for start in range(0, vectors.rows, BLOCK):
            stop = min(start + BLOCK, vectors.rows)
            block = vectors.block(start, stop)
            require_finite(torch.from_numpy(block), "passage", start)
            products.load(block)
            for part, rows, own, row, passage in batches:
                here = (start <= passage) & (passage < stop)
                without = row[here], passage[here] - start
                counts[part] += _above(products.of(asked[rows]), own, without)
            bar.advance(stop - start)
    return counts.cpu().numpy()


def _above(scores: torch.Tensor, own: torch.Tensor, without: tuple[npt.NDArray[np.int64], ...]) -> torch.Tensor:
    """How many of the scores [q, p] of each query are above its `own` [q], leaving out pairs of row and column."""
    scores[without] = -torch.inf
    return (scores > own[:, None]).sum(dim=1, dtype=torch.int32)  # twice as fast as int64


class _Products:
    """Inner products of fixed shape, [QUERY_BATCH, BLOCK], for any number of queries and passages.

    In products of different shapes, equal passages may get unequal scores.
    """

    def __init__(self, dim: int, device: torch.device) -> None:
        self._queries = torch.zeros(QUERY_BATCH, dim, device=device)
        self._passages = torch.zeros(BLOCK, dim, device=device)
        self._scores = torch.empty(QUERY_BATCH, BLOCK, device=device)
        self._loaded = 0

    def load(self, passages: npt.NDArray[np.float32]) -> None:
        """Load up to BLOCK passage vectors [p, dim]."""
        self._loaded = len(passages)
        self._passages[: len(passages)] = torch.from_numpy(passages)
        self._passages[len(passages) :] = 0

    def of(self, queries: torch.Tensor) -> torch.Tensor:
        """Scores [q, p] of up to QUERY_BATCH queries [q, dim] of the loaded passages, until the next call."""
        self._queries[: len(queries)] = queries
        self._queries[len(queries) :] = 0
        return product(self._queries, self._passages, self._scores)[: len(queries), : self._loaded]


def _left_out(
    queries: npt.NDArray[np.integer], judged: Judgements | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pairs that are not counted: indexes into `queries`, and passage positions."""
    none = np.zeros(0, np.int64)
    parts = [none if judged is None else judged.of(int(query))[0] for query in queries]
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]), np.concatenate([none, *parts])
