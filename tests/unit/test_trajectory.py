"""A training followed: its measures against a full ranking, its negatives against sets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import stage_of
from made_analysis import collection_of, judgements_of, model_of, negatives_of, normal, passages_of

from hardneg.analysis.trajectory import Batch, Kept, best_static_ranks, effectiveness, means, overlap
from hardneg.methods.lists import MinedLists
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import Artifact
from workflow_scripts import follow_training

CPU = torch.device("cpu")
PASSAGES, TRAIN, DEV, K, STEPS = 300, 20, 9, 6, (0, 5, 10)
TRAIN_GRADES = {(q, (q * 7 + n) % PASSAGES): 1 for q in range(TRAIN - 1) for n in range(1 + q % 3)}
DEV_GRADES = {(q, (q * 11 + n) % PASSAGES): 1 + n for q in range(DEV) for n in range(2)}
# A list is shorter than K, one is empty, most are longer.
LISTS = {q: [p for p in range(q, PASSAGES, 17) if (q, p) not in TRAIN_GRADES] for q in range(TRAIN) if q != 4}
LISTS[3] = LISTS[3][:2]
SETTINGS: dict[str, Any] = {
    "split": "dev",
    "k": K,
    "measures": ["MRR@10", "R@50", "nDCG@10"],
    "main": "MRR@10",
    "relevant_grade": 2,
    "depth": 100,
    "search": {"nprobe": None, "ef_search": None},
    "threads": 1,
}


SEEN = np.array([2, 3, 7, 11, TRAIN - 1])
"""Training queries that are measured beside; the last has no relevant passage."""


def seen_at(step: int) -> np.ndarray:
    vectors: np.ndarray = near_relevant(SEEN, 200 + step) + 0.2 * step * normal(len(SEEN), 300 + step)
    return vectors


def batch_of(step: int) -> Batch:
    """Eight queries, among them the one without a list, a short list and the one without a relevant passage."""
    chosen = np.concatenate([[4, 3, TRAIN - 1], np.random.default_rng(step).permutation(TRAIN)[:5]])
    vectors = near_relevant(chosen, 100 + step)
    vectors[1] += normal(PASSAGES, 1)[0]  # what stands first is no static negative of the short list
    return Batch(chosen.astype(np.int64), vectors)


def near_relevant(chosen: np.ndarray, seed: int) -> np.ndarray:
    """Vectors of queries, under which their relevant passages are among the top K."""
    aims = np.zeros((TRAIN, PASSAGES), np.float32)
    aims[tuple(np.array(list(TRAIN_GRADES)).T)] = 1
    vectors: np.ndarray = normal(len(chosen), seed) + aims[chosen] @ normal(PASSAGES, 1)
    return vectors


def scores_of(queries: np.ndarray) -> np.ndarray:
    scores: np.ndarray = queries.astype(np.float64) @ normal(PASSAGES, 1).astype(np.float64).T
    return scores


def live_rankings(batch: Batch) -> list[list[int]]:
    """All passages that are not judged relevant, best first, by query of the batch."""
    order = np.argsort(-scores_of(batch.vectors), axis=1).tolist()
    return [
        [passage for passage in ranked if (query, passage) not in TRAIN_GRADES]
        for query, ranked in zip(batch.queries.tolist(), order, strict=True)
    ]


def expected_of_batch(batch: Batch, k: int) -> tuple[float, float]:
    """Overlap and best static rank, from sets and lists."""
    shares, ranks = [], []
    for query, live in zip(batch.queries.tolist(), live_rankings(batch), strict=True):
        if static := set(LISTS.get(query, [])[:k]):
            shares.append(len(static & set(live[:k])) / len(static))
            ranks.append(min(map(live.index, static)) + 1)
    return statistics.mean(shares), statistics.median(ranks)


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, Artifact]:
    kept = {f"probe.{step:06d}": normal(DEV, step) for step in (*STEPS, 12)}
    for step in STEPS:
        batch = batch_of(step)
        kept |= {f"batch.{step:06d}.queries": batch.queries, f"batch.{step:06d}.vectors": batch.vectors}
    kept |= {"seen.queries": SEEN, **{f"seen.{step:06d}": seen_at(step) for step in (*STEPS, 12)}}
    kept |= {"000001.queries": np.zeros(1, np.int64), "000001.vectors": normal(1, 0)}
    grades = {"train": TRAIN_GRADES, "dev": DEV_GRADES}
    return {
        "collection": collection_of(tmp_path / "collection", PASSAGES, {"train": TRAIN, "dev": DEV}, grades),
        "model": model_of(tmp_path / "model", "adore", kept),
        "passages": passages_of(tmp_path / "passages", normal(PASSAGES, 1)),
        "negatives": negatives_of(tmp_path / "negatives", LISTS),
    }


def candidates() -> MinedLists:
    query = np.concatenate([np.full(len(LISTS[q]), q) for q in sorted(LISTS)])
    return MinedLists(query, np.concatenate([LISTS[q] for q in sorted(LISTS)]), TRAIN)


@pytest.mark.parametrize("k", [1, K, 40, PASSAGES])
def test_overlap_and_best_static_rank(parents: Mapping[str, Artifact], k: int) -> None:
    vectors, judged = vectors_of(parents["passages"]), judgements_of(TRAIN_GRADES, TRAIN, PASSAGES)
    batches = {step: batch_of(step) for step in STEPS}
    ranks = best_static_ranks(batches, candidates(), vectors, judged, k, CPU)
    assert list(ranks) == list(STEPS)
    for step, batch in batches.items():
        share, rank = expected_of_batch(batch, k)
        assert overlap(batch, candidates(), ExactSearcher(vectors), judged, k) == pytest.approx(share)
        assert ranks[step] == rank
    assert len({expected_of_batch(batch, K) for batch in batches.values()}) == len(STEPS)


def test_a_batch_without_static_negatives(parents: Mapping[str, Artifact]) -> None:
    vectors, judged = vectors_of(parents["passages"]), judgements_of(TRAIN_GRADES, TRAIN, PASSAGES)
    none, some = Batch(np.array([4]), normal(1, 7)), batch_of(5)
    assert np.isnan(overlap(none, candidates(), ExactSearcher(vectors), judged, K))
    assert list(best_static_ranks({0: none, 5: some}, candidates(), vectors, judged, K, CPU)) == [5]


def test_a_list_shorter_than_k(parents: Mapping[str, Artifact]) -> None:
    """Passage 0, which ranks first, does not stand in for the negatives that the list lacks."""
    vectors, judged = vectors_of(parents["passages"]), judgements_of(TRAIN_GRADES, TRAIN, PASSAGES)
    batch = Batch(np.array([3]), normal(PASSAGES, 1)[:1])
    (rank,) = best_static_ranks({5: batch}, candidates(), vectors, judged, K, CPU).values()
    assert rank == expected_of_batch(batch, K)[1] > 1


def test_static_negatives_that_are_the_live_ones(parents: Mapping[str, Artifact]) -> None:
    """Lists mined with the batch's own vectors overlap fully, and begin at rank 1."""
    batch = Batch(np.arange(TRAIN), near_relevant(np.arange(TRAIN), 3))
    own = np.array([live[:K] for live in live_rankings(batch)])
    static = MinedLists(np.repeat(batch.queries, K), own.ravel(), TRAIN)
    vectors, judged = vectors_of(parents["passages"]), judgements_of(TRAIN_GRADES, TRAIN, PASSAGES)
    assert overlap(batch, static, ExactSearcher(vectors), judged, K) == 1
    assert best_static_ranks({8: batch}, static, vectors, judged, K, CPU) == {8: 1}


def test_effectiveness(parents: Mapping[str, Artifact]) -> None:
    """MRR and recall from the full ranking; the lower grade is not relevant."""
    probe, searcher = normal(DEV, 2), ExactSearcher(vectors_of(parents["passages"]))
    got = means(effectiveness(probe, searcher, parents["collection"], "dev", ["R@30", "MRR@300"], 2, PASSAGES))
    order = np.argsort(-scores_of(probe), axis=1).tolist()
    ranks = [order[q].index(p) + 1 for (q, p), grade in DEV_GRADES.items() if grade == 2]
    recall, reciprocal = statistics.mean(rank <= 30 for rank in ranks), statistics.mean(1 / rank for rank in ranks)
    assert got == pytest.approx({"R@30": recall, "MRR@300": reciprocal})
    assert list(got) == ["R@30", "MRR@300"]
    assert 0 < recall < 1


def test_what_was_kept(parents: Mapping[str, Artifact]) -> None:
    kept = Kept(parents["model"].path("kept.safetensors"))
    assert (kept.probed, kept.trained) == ([0, 5, 10, 12], [0, 5, 10])
    assert np.array_equal(kept.probe(12), normal(DEV, 12))
    assert np.array_equal(kept.batch(5).queries, batch_of(5).queries)
    assert np.array_equal(kept.batch(5).vectors, batch_of(5).vectors)


@pytest.mark.parametrize("static", [True, False])
def test_the_stage(tmp_path: Path, parents: dict[str, Artifact], static: bool) -> None:
    if not static:
        del parents["negatives"]
    stage = stage_of(tmp_path / "trajectory", SETTINGS, parents)
    assert follow_training.run(stage, {}, ["cpu"]) == ["trajectory.parquet", "per_query.parquet"]
    table = pq.read_table(stage.folder / "trajectory.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("step", "int32"),
        ("name", "large_string"),
        ("value", "double"),
    ]
    searcher, expected, by_query = ExactSearcher(vectors_of(parents["passages"])), [], []
    for step in (*STEPS, 12):
        asked = ("dev", SETTINGS["measures"], 2, SETTINGS["depth"])
        values = effectiveness(normal(DEV, step), searcher, parents["collection"], *asked)
        expected += [(step, *pair) for pair in means(values).items()]
        expected.append((step, "MRR@10, training queries", reciprocal_ranks(seen_at(step))))
        by_query += [(step, *row) for row in values.query("measure == 'MRR@10'")[["query_id", "value"]].to_numpy()]
        if static and step in STEPS:
            expected += zip(
                [step] * 2, [f"overlap@{K}", "best static rank"], expected_of_batch(batch_of(step), K), strict=True
            )
    got = [tuple(row.values()) for row in table.to_pylist()]
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    assert [row[2] for row in got] == pytest.approx([row[2] for row in expected])
    table = pq.read_table(stage.folder / "per_query.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("step", "int32"),
        ("query_id", "large_string"),
        ("value", "double"),
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == by_query


def reciprocal_ranks(vectors: np.ndarray) -> float:
    """The mean over the training queries that have a relevant passage, within the first ten, from full rankings."""
    found = []
    for query, ranked in zip(SEEN.tolist(), np.argsort(-scores_of(vectors), axis=1).tolist(), strict=True):
        relevant = [passage for asked, passage in TRAIN_GRADES if asked == query]
        if relevant:
            first = min(map(ranked.index, relevant)) + 1
            found.append(1 / first if first <= 10 else 0.0)
    assert len(found) == len(SEEN) - 1 and any(found)
    return statistics.mean(found)


def test_training_queries_are_measured_alone(parents: Mapping[str, Artifact]) -> None:
    """Not the others of their split, whose vectors were not kept."""
    searcher = ExactSearcher(vectors_of(parents["passages"]))
    asked = ("train", ["MRR@10"], 1, PASSAGES)
    values = effectiveness(seen_at(5), searcher, parents["collection"], *asked, SEEN)
    assert values["query_id"].tolist() == [str(query) for query in SEEN[:-1]]
    assert values["value"].mean() == pytest.approx(reciprocal_ranks(seen_at(5)))
