"""Negatives diagnosed, against counts over plain Python lists; batches replayed, against loops over pairs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import TRAIN, seal, stage_of, training_settings
from made_analysis import (
    collection_of,
    judgements_of,
    model_of,
    normal,
    passages_of,
    queries_of,
    run_of,
    write_ranking,
)

from hardneg.analysis.diagnosis import in_batch_counts, rank_buckets
from hardneg.methods.draws import TrainingQueries
from hardneg.methods.lists import WholeCollection
from hardneg.methods.order.shuffle import rows as shuffled
from hardneg.retrieval.runs import read_run
from hardneg.stages.artifacts import Artifact
from hardneg.training.draws import Draws
from workflow_scripts import diagnose_negatives

QUERIES, PASSAGES, DEPTH = 30, 120, 60
# Query 0 finds none of its positives, query 1 has none, query 2 found nothing at all; every other query shares one.
GRADES = {
    **{(q, 100): 1 for q in range(3, QUERIES, 2)},
    **{(q, (q * 3 + n) % PASSAGES): 1 + n for q in range(3, QUERIES) for n in range(1 + q % 3)},
    (0, PASSAGES - 1): 1,
    (1, 7): 0,
    (2, 9): 1,
}
RELEVANT = {pair for pair, grade in GRADES.items() if grade > 0}
FOUND = {
    q: [p for p in np.random.default_rng(q).permutation(PASSAGES).tolist() if (q, p) != (0, PASSAGES - 1)][:DEPTH]
    for q in range(QUERIES)
    if q != 2
}
BUCKETS = [(1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, 60)]
IN_BATCH = training_settings(batch="in_batch", train={**TRAIN, "batch_size": 8})


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(1, 1), (2, 2)]),
        (5, [(1, 1), (2, 5)]),
        (60, BUCKETS),
        (200, [*BUCKETS[:-1], (51, 100), (101, 200)]),
        (1500, [*BUCKETS[:-1], (51, 100), (101, 200), (201, 500), (501, 1000), (1001, 1500)]),
    ],
)
def test_rank_buckets(depth: int, expected: list[tuple[int, int]]) -> None:
    assert rank_buckets(depth) == expected


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, Artifact]:
    """What was mined, less the judged positives and less every seventh of the others, as a filter would do it."""
    run = run_of(tmp_path / "run", "train", FOUND, DEPTH)
    removed = {(q, p) for q, found in FOUND.items() for p in found if (q, p) in RELEVANT or (q + p) % 7 == 0}
    stage = stage_of(tmp_path / "negatives", {})
    write_ranking(stage.folder / "negatives.parquet", FOUND, left_out=removed)
    return {
        "collection": collection_of(tmp_path / "collection", PASSAGES, {"train": QUERIES}, {"train": GRADES}),
        "model": model_of(tmp_path / "model", "adore", first_step=0, steps=4),
        "run": run,
        "negatives": seal(stage, ["negatives.parquet"]),
    }


def diagnosed(folder: Path, parents: dict[str, Artifact]) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    stage = stage_of(folder / "diagnosis", {"split": "train", "threads": 1}, parents)
    names = diagnose_negatives.run(stage, {}, ["cpu"])
    if not names:
        return None, stage.facts
    assert names == ["by_rank.parquet"]
    return pq.read_table(stage.folder / "by_rank.parquet").to_pylist(), stage.facts


@pytest.mark.parametrize("taught", [True, False])
def test_by_rank(tmp_path: Path, parents: dict[str, Artifact], taught: bool) -> None:
    asked, vectors = normal(QUERIES, 1), normal(PASSAGES, 2)
    vectors[50] = vectors[9 * 3]  # a duplicate of a positive is not above it
    if taught:
        parents["teacher_queries"] = queries_of(tmp_path / "teacher_queries", "train", asked)
        parents["teacher_passages"] = passages_of(tmp_path / "teacher_passages", vectors)
    rows, facts = diagnosed(tmp_path, parents)
    assert rows is not None
    teacher = asked.astype(np.float64) @ vectors.astype(np.float64).T

    bucket_of = {rank: n for n, (first, last) in enumerate(BUCKETS) for rank in range(first, last + 1)}
    positives, scores, margins, false = (defaultdict[int, list[float]](list) for _ in range(4))
    kept = {
        (hit["query"], hit["passage"]): hit
        for hit in pq.read_table(parents["negatives"].path("negatives.parquet")).to_pylist()
    }
    with_positive = set()
    for q, found in FOUND.items():
        ranks = {p: rank for rank, p in enumerate(found, 1)}
        mine = [p for query, p in RELEVANT if query == q]
        hit = min((ranks[p] for p in mine if p in ranks), default=None)
        with_positive |= {q} if hit else set()
        for p, rank in ranks.items():
            place = bucket_of[rank]
            if (q, p) in RELEVANT:
                positives[place].append(rank)
            if (q, p) in kept:
                assert kept[q, p]["rank"] == rank
                scores[place].append(100 - rank)
                margins[place] += [hit - rank] if hit else []
                false[place] += [float(teacher[q, p] > max(teacher[q, mine]))] if mine else []
    assert [(row["first"], row["last"]) for row in rows] == BUCKETS
    for place, row in enumerate(rows):
        assert row["candidates"] == len(scores[place])
        assert row["judged_positives"] == len(positives[place])
        for name, values in (("score", scores[place]), ("margin", margins[place])):
            got = [row[f"{name}_{part}"] for part in ("q25", "median", "q75")]
            assert got == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]).tolist())
        assert row["likely_false"] == (pytest.approx(np.mean(false[place])) if taught else None)
    everything = list(itertools.chain.from_iterable(false.values()))
    assert 0 < sum(everything) < len(everything)
    assert len(with_positive) < len(FOUND)
    assert facts == {
        "mined": "run",
        "mined_hits": sum(map(len, FOUND.values())),
        "mined_judged_positives": sum(map(len, positives.values())),
        "candidates": len(kept),
        "queries_with_positive_mined": len(with_positive),
        "likely_false_share": pytest.approx(np.mean(everything)) if taught else None,
        "in_batch_pairs": None,
        "in_batch_judged": None,
    }


def test_parts_change_nothing(tmp_path: Path, parents: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    parents["teacher_queries"] = queries_of(tmp_path / "teacher_queries", "train", normal(QUERIES, 1))
    parents["teacher_passages"] = passages_of(tmp_path / "teacher_passages", normal(PASSAGES, 2))
    whole = diagnosed(tmp_path / "whole", parents)
    monkeypatch.setattr("hardneg.analysis.diagnosis.PAIRS_AT_ONCE", 13)

    def each_query(path: Path) -> Any:
        run = read_run(path)
        for query in sorted(set(run["query"].to_pylist())):
            yield run.filter(np.equal(run["query"].to_numpy(), query))

    monkeypatch.setattr("hardneg.analysis.diagnosis.whole_queries", each_query)
    assert diagnosed(tmp_path / "parts", parents) == whole


def test_mining_that_left_nothing(tmp_path: Path, parents: dict[str, Artifact]) -> None:
    stage = stage_of(tmp_path / "nothing", {})
    write_ranking(stage.folder / "negatives.parquet", {})
    parents["negatives"] = seal(stage, ["negatives.parquet"])
    rows, facts = diagnosed(tmp_path, parents)
    assert rows is not None
    assert [row["candidates"] for row in rows] == [0] * len(BUCKETS)
    assert facts["candidates"] == 0 and facts["mined_hits"] == sum(map(len, FOUND.values()))


@pytest.mark.parametrize(("first", "steps", "passed"), [(0, 6, 0), (3, 4, 0), (0, 4, 5)])
def test_what_the_batch_put_together(
    tmp_path: Path, parents: dict[str, Artifact], first: int, steps: int, passed: int
) -> None:
    """Each query against each other query's positive, over the stage's own steps; nothing was mined."""
    model = stage_of(tmp_path / "trained", IN_BATCH)
    model.record["kind"] = "train"
    model.facts = {"first_step": first, "steps": steps, **({"queries_before": 8 * passed} if passed else {})}
    rows, facts = diagnosed(tmp_path, {"collection": parents["collection"], "model": seal(model, [])})
    assert rows is None
    judged, pairs = judgements_of(GRADES, QUERIES, PASSAGES), []
    draws = Draws(IN_BATCH, judged, [None], before=8 * passed)
    for step in range(first, first + steps):
        queries = shuffled(TrainingQueries(judged.with_positives(), 8, 5), passed + step).tolist()
        drawn = draws.at(step).passages.tolist()
        assert all(pair in RELEVANT for pair in zip(queries, drawn, strict=True))
        pairs += [(q, p) for (n, q), (m, p) in itertools.product(enumerate(queries), enumerate(drawn)) if n != m]
    assert len(pairs) == steps * 8 * 7
    assert facts.pop("in_batch_pairs") == len(pairs)
    assert facts.pop("in_batch_judged") == sum(pair in RELEVANT for pair in pairs) > 0
    assert set(facts.values()) == {None}


def test_own_negatives_only() -> None:
    """A batch that shares nothing compares no in-batch pair."""
    settings = training_settings(source="random", batch="own", train={**TRAIN, "batch_size": 8})
    draws = Draws(settings, judgements_of(GRADES, QUERIES, PASSAGES), [WholeCollection(PASSAGES)])
    assert in_batch_counts(draws, range(5)) == {"in_batch_pairs": 0, "in_batch_judged": 0}
    assert all(draws.at(step).listed.sum() > 8 for step in range(5))
