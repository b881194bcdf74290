"""A query encoder during training: its effectiveness, and the overlap of static and live negatives (Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import safe_open

from hardneg.analysis.pairwise_errors import count_above
from hardneg.data.documents import judged_documents, read_documents
from hardneg.data.judgements import Judgements
from hardneg.evaluation.measure_names import OF_TRAINING
from hardneg.evaluation.measures import aggregate, evaluate, parse_measures
from hardneg.methods.draws import take
from hardneg.methods.lists import MinedLists
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.runs import SCHEMA, best_passage
from hardneg.retrieval.search.retrieve import Searcher, open_searcher, vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact
from hardneg.stages.progress import Progress

KEPT = "kept.safetensors"
BEST_STATIC_RANK = "best static rank"


class Batch(NamedTuple):
    """The queries of a training step, with the vectors of that step (with dropout).

    Attributes:
        queries: int64 [B], positions in the training split.
        vectors: float32 [B, dim].
    """

    queries: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]


class Kept:
    """The probes and batches kept during a training, by the number of steps done before.

    Args:
        path: `kept.safetensors`.

    Attributes:
        probed: the steps at which all queries of the probed split were encoded, in ascending order.
        trained: the steps whose batch was kept, in ascending order.
        seen: positions int64 [n] of the training queries that were encoded at each probe; empty without any.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, "numpy") as stream:
            names = [name.split(".") for name in stream.keys()]  # noqa: SIM118 - not a mapping
        self.probed = sorted(int(name[1]) for name in names if name[0] == "probe")
        self.trained = sorted(int(name[1]) for name in names if name[0] == "batch" and name[2] == "queries")
        there = ["seen", "queries"] in names
        self.seen: npt.NDArray[np.int64] = self._read("seen.queries") if there else np.empty(0, np.int64)

    def probe(self, step: int) -> npt.NDArray[np.float32]:
        """Vectors of all queries of the probed split, encoded without dropout: float32 [queries, dim]."""
        return self._read(f"probe.{step:06d}")

    def of_training(self, step: int) -> npt.NDArray[np.float32]:
        """Vectors of the training queries `seen`, encoded without dropout: float32 [n, dim]."""
        return self._read(f"seen.{step:06d}")

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        return Batch(self._read(f"batch.{step:06d}.queries"), self._read(f"batch.{step:06d}.vectors"))

    def _read(self, name: str) -> npt.NDArray[Any]:
        with safe_open(self._path, "numpy") as stream:
            return stream.get_tensor(name)


def trajectory(
    parents: Mapping[str, Artifact],
    settings: Mapping[str, Any],
    devices: Sequence[torch.device],
    progress: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute effectiveness and overlap at each kept step of a query encoder's training.

    Args:
        parents: `collection`, `model` (with its probes), `passages`; optionally `index`, and `negatives` (the static
            lists it was trained on).
        settings: `split` (the probed split), `k`, `measures`, `main` (the main measure), `relevant_grade` (the split's
            lowest relevant grade), `depth` (passages retrieved for each query), `search` (search parameters of the
            index).
        devices: where to search; the work is spread over all of them.
        progress: where progress is written.

    Returns:
        step (int32, steps done before), name (str) and value (float64), by step: each measure over the probed split,
        the main measure over training queries where these were kept (grades from 1 are relevant), and, with static
        lists, "overlap@K" and "best static rank" over the step's batch. And by step and query of the probed split
        its value (float64) of the main measure.
    """
    collection, split, k, main = parents["collection"], settings["split"], settings["k"], settings["main"]
    train = parents["model"].settings["split"]
    searcher = open_searcher(parents["passages"], parents.get("index"), devices, search=settings["search"])
    kept, rows = Kept(parents["model"].path(KEPT)), []
    grade, depth, by_query = settings["relevant_grade"], settings["depth"], []
    measures = list(dict.fromkeys([*settings["measures"], main]))
    with Progress(f"follow {parents['model'].manifest['label']}", len(kept.probed), "probes", progress) as bar:
        for step in kept.probed:
            values = effectiveness(kept.probe(step), searcher, collection, split, measures, grade, depth)
            rows += [(step, name, value) for name, value in means(values).items()]
            by_query.append(values[values["measure"] == main].assign(step=step)[["step", "query_id", "value"]])
            if len(kept.seen):
                vectors, queries = kept.of_training(step), kept.seen
                known = effectiveness(vectors, searcher, collection, train, [main], 1, depth, queries)
                rows.append((step, OF_TRAINING.format(main), means(known)[main]))
            bar.advance()
    if "negatives" in parents and kept.trained:
        passages, count = vectors_of(parents["passages"]), collection.facts["splits"][train]["queries"]
        judged = Judgements.read(collection.path(f"qrels.{train}.parquet"), count, len(passages))
        candidates = MinedLists.read(parents["negatives"].path(NEGATIVES), count)
        batches = {step: kept.batch(step) for step in kept.trained}
        ranks = best_static_ranks(batches, candidates, passages, judged, k, devices[0], progress)
        for step, batch in batches.items():
            rows.append((step, f"overlap@{k}", overlap(batch, candidates, searcher, judged, k)))
            rows += [(step, BEST_STATIC_RANK, ranks[step])] if step in ranks else []
    table = pd.DataFrame(rows, columns=["step", "name", "value"]).astype({"step": np.int32})
    every = pd.concat(by_query, ignore_index=True).astype({"step": np.int32})
    return table.sort_values("step", kind="stable", ignore_index=True), every


def means(values: pd.DataFrame) -> dict[str, float]:
    """The mean of each measure over queries."""
    table = aggregate(values)
    return dict(zip(table["measure"], table["value"].astype(float), strict=True))


def effectiveness(
    probe: npt.NDArray[np.float32],
    searcher: Searcher,
    collection: Artifact,
    split: str,
    measures: Sequence[str],
    relevant_grade: int,
    depth: int,
    queries: npt.NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Each measure of the queries of a split, as the measure stage has it: query_id, measure, value.

    Args:
        probe: [n, dim].
        searcher: of the passages.
        collection: the prepared collection.
        split: which queries these are.
        measures: their names.
        relevant_grade: the lowest that counts as relevant.
        depth: how many passages are retrieved a query.
        queries: their positions [n] in the split; None: all.
    """
    positions, scores = (part.numpy() for part in searcher.search(torch.from_numpy(probe), depth))
    query, rank = np.nonzero(positions >= 0)
    which = np.arange(len(probe)) if queries is None else queries
    columns = (which[query], positions[query, rank], rank + 1, scores[query, rank])
    run = pa.table([pa.array(column).cast(kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
    qrels = pq.read_table(collection.path(f"qrels.{split}.parquet"), columns=["query", "passage", "grade"])
    if (documents := read_documents(collection)) is not None:
        run, qrels = best_passage(run, documents), judged_documents(qrels, documents)
    if queries is not None:
        qrels = qrels.filter(pc.is_in(qrels["query"], pa.array(queries).cast(qrels["query"].type)))
    ids = [str(number) for number in range(int(which.max()) + 1)]
    return evaluate(run, qrels, ids, parse_measures(measures), relevant_grade)


def overlap(batch: Batch, candidates: MinedLists, searcher: Searcher, judged: Judgements, k: int) -> float:
    """The share of static negatives that are also live negatives.

        mean over q of |static(q) & live(q)| / |static(q)|

    Queries without static negatives are omitted; the result is NaN if no query has any.

    Args:
        batch: the queries, and the vectors with which live negatives are retrieved.
        candidates: the static lists; static(q) is the first k of them.
        searcher: of the passages; live(q) is the top k of those not judged relevant.
        judged: the training judgements.
        k: K.
    """
    static = _static(batch, candidates, k)
    most = int(np.diff(judged.offsets)[batch.queries].max())  # up to this many retrieved passages may be relevant
    found = searcher.search(torch.from_numpy(batch.vectors), k + most)[0].numpy()
    usable = (found >= 0) & ~judged.contains(batch.queries[:, None], found)
    shares = [
        np.isin(negatives[negatives >= 0], passages[there][:k]).mean()
        for negatives, passages, there in zip(static, found, usable, strict=True)
        if (negatives >= 0).any()
    ]
    return float(np.mean(shares)) if shares else math.nan


def best_static_ranks(
    batches: Mapping[int, Batch],
    candidates: MinedLists,
    vectors: VectorStore,
    judged: Judgements,
    k: int,
    device: torch.device,
    progress: Path | None = None,
) -> dict[int, float]:
    """For each step, the median over the batch of the rank of the best-ranked static negative (Eq. 8).

    Ranks count from 1, among all passages of the collection that are not judged relevant. Queries without static
    negatives are omitted. The passages are read once for all steps.

    Args:
        batches: the batch of each step.
        candidates: the static lists, of which the first k count.
        vectors: all passages.
        judged: the training judgements.
        k: K.
        device: where to compute inner products.
        progress: where progress is written.
    """
    steps = np.repeat(list(batches), [len(batch.queries) for batch in batches.values()])
    queries = np.concatenate([batch.queries for batch in batches.values()])
    asked = np.concatenate([batch.vectors for batch in batches.values()])
    best = np.concatenate([_best(batch, _static(batch, candidates, k), vectors) for batch in batches.values()])
    (rows,) = np.nonzero(best >= 0)
    ranks = 1 + count_above(
        vectors, asked, rows, best[rows], device, left_out=_by_row(judged, queries), progress=progress
    )
    ranked = steps[rows]
    return {step: float(np.median(ranks[ranked == step])) for step in batches if (ranked == step).any()}


def _static(batch: Batch, candidates: MinedLists, k: int) -> npt.NDArray[np.int64]:
    """The first k static negatives of each query: int64 [B, k], padded with -1."""
    found = candidates.of(batch.queries)
    there = np.arange(k) < found.available(k)[:, None]
    return take(found, np.broadcast_to(np.arange(k), there.shape), there)


def _best(batch: Batch, static: npt.NDArray[np.int64], vectors: VectorStore) -> npt.NDArray[np.int64]:
    """Each query's static negative with the highest score: int64 [B], -1 for queries without any."""
    taken = vectors.take(np.maximum(static, 0).ravel()).reshape(*static.shape, -1)
    scores = np.einsum("qd,qkd->qk", batch.vectors, taken)
    scores[static < 0] = -np.inf
    best: npt.NDArray[np.int64] = static[np.arange(len(static)), scores.argmax(axis=1)]
    return best


def _by_row(judged: Judgements, queries: npt.NDArray[np.int64]) -> Judgements:
    """The judgements of `queries` [n], by row instead of by query position."""
    entries = [judged.of(int(query)) for query in queries]
    row = np.repeat(np.arange(len(queries)), [len(passages) for passages, _ in entries])
    passage, grade = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return Judgements(row, passage, grade, len(queries), judged.passages)
