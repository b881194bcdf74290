"""How a query vector moves towards its relevant passages in training, in two dimensions (Zhan et al., Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import torch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hardneg.analysis.pairwise_errors import count_above, read_relevant
from hardneg.analysis.trajectory import KEPT, Kept
from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact

Vectors = npt.NDArray[np.float32]


def movement(
    parents: Mapping[str, Artifact], settings: Mapping[str, Any], device: torch.device, progress: Path | None = None
) -> tuple[pd.DataFrame, Vectors, dict[str, Any]]:
    """Project a query's vectors at all probes together with the passages around it.

    Args:
        parents: `collection`, `model` (with its probes), `passages`.
        settings: `split` (the probed split), `query` (an id; None chooses the query whose reciprocal rank rises most
            from the first probe to the last, and the first of equals), `passages` (the number of other top-ranked
            passages shown, before and after), `relevant_grade`, `seed`.
        device: where to rank.
        progress: where progress is written.

    Returns:
        One row for each point: kind (query, relevant, near_before, near_after), step (int32, -1 for passages), passage
        (int32, -1 for queries), x and y (float32). Relevant passages are sorted by position, others by rank. A passage
        that is near both before and after appears once, as near_before.

        The projected vectors: float32 [points, dim], in the same order.

        Facts: query_id, text, rank_before and rank_after (of the first relevant passage, from 1), perplexity,
        kl_divergence.

    Raises:
        HardnegError: the query does not exist, or it has no relevant passage.
    """
    split = settings["split"]
    relevant = read_relevant(parents["collection"], split, settings["relevant_grade"])
    queries = pq.read_table(parents["collection"].path(f"queries.{split}.parquet"), columns=["query_id", "text"])
    vectors, kept = vectors_of(parents["passages"]), Kept(parents["model"].path(KEPT))
    before, after = kept.probe(kept.probed[0]), kept.probe(kept.probed[-1])
    if settings["query"] is None:
        chosen = relevant.with_positives()
    else:
        chosen = np.array([_position(queries["query_id"].to_pylist(), settings["query"], relevant)])
    ranks = [first_ranks(vectors, probe, relevant, chosen, device, progress) for probe in (before, after)]
    place = int((1 / ranks[1] - 1 / ranks[0]).argmax())
    query = int(chosen[place])
    points = _points(vectors, kept, query, relevant.of(query)[0], settings["passages"], device)
    steps = np.stack([kept.probe(step)[query] for step in kept.probed])
    passages = points["passage"].to_numpy()
    inputs = np.concatenate([steps, vectors.take(passages[len(steps) :])])
    projected, facts = project(inputs, settings["seed"])
    points["x"], points["y"] = projected.T
    return (
        points,
        inputs,
        {
            "query_id": queries["query_id"][query].as_py(),
            "text": queries["text"][query].as_py(),
            "rank_before": int(ranks[0][place]),
            "rank_after": int(ranks[1][place]),
            **facts,
        },
    )


def first_ranks(
    vectors: VectorStore,
    queries: Vectors,
    relevant: Judgements,
    chosen: npt.NDArray[np.int64],
    device: torch.device,
    progress: Path | None = None,
) -> npt.NDArray[np.int64]:
    """The rank (from 1) of each chosen query's first relevant passage among all passages.

    Args:
        vectors: vectors of all passages.
        queries: query vectors, float32 [queries of the split, dim].
        relevant: the relevant passages of the split's queries.
        chosen: [n] positions of queries that have a relevant passage.
        device: where to compute inner products.
        progress: where progress is written.

    Returns:
        int64 [n].
    """
    passages = [relevant.of(int(query))[0] for query in chosen]
    counts = [len(some) for some in passages]
    pairs = (np.repeat(chosen, counts), np.concatenate(passages))
    above = count_above(vectors, queries, *pairs, device, progress=progress)
    return 1 + np.minimum.reduceat(above, np.cumsum([0, *counts[:-1]]))


def project(inputs: Vectors, seed: int) -> tuple[Vectors, dict[str, float]]:
    """t-SNE with cosine distance: float32 [n, 2], and facts (perplexity, kl_divergence).

    It runs on one thread, so that the order of sums is fixed. More threads would not make so small a problem faster.
    """
    perplexity = min(30.0, (len(inputs) - 1) / 3)
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
        projected = tsne.fit_transform(inputs)
    return projected.astype(np.float32), {"perplexity": perplexity, "kl_divergence": float(tsne.kl_divergence_)}


def _points(
    vectors: VectorStore,
    kept: Kept,
    query: int,
    relevant: npt.NDArray[np.int64],
    others: int,
    device: torch.device,
) -> pd.DataFrame:
    """The rows of `movement`, without coordinates."""
    ends = torch.from_numpy(np.stack([kept.probe(kept.probed[at])[query] for at in (0, -1)]))
    found = ExactSearcher(vectors, [device]).search(ends, others + len(relevant))[0].numpy()
    before, after = (row[~np.isin(row, relevant)][:others] for row in found)
    parts = {"relevant": relevant, "near_before": before, "near_after": after[~np.isin(after, before)]}
    rows = [("query", step, -1) for step in kept.probed]
    rows += [(kind, -1, passage) for kind, passages in parts.items() for passage in passages.tolist()]
    return pd.DataFrame(rows, columns=["kind", "step", "passage"]).astype({"step": np.int32, "passage": np.int32})


def _position(ids: list[str], query: str, relevant: Judgements) -> int:
    """The position of a query id.

    Raises:
        HardnegError: the query does not exist, or it has no relevant passage.
    """
    if query not in ids or ids.index(query) not in relevant.with_positives():
        raise HardnegError(
            "The query has no relevant passage." if query in ids else "The split has no query with this id.",
            where="analyses.movement.query",
            found=query,
            expected=f"an id such as {ids[int(relevant.with_positives()[0])]}",
            remedy="give another id, or null for the query that moves most.",
        )
    return ids.index(query)
