"""TriSampler: nothing from outside the region, weights of both stages, the fallback, and where vectors come from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import chosen
from drawing import offer_of
from made import JUDGED, TRAIN, mined_lists, seal, stage_of, training_settings

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import Drawn, MinedVectors, Offer
from hardneg.methods.samplers.trisampler import triangle
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.training.draws import Draws

QUERY = np.array([1.0, 0.0, 0.0])
POSITIVE = 2 * np.array([math.cos(0.5), math.sin(0.5), 0.0])


def offer(candidates: np.ndarray, queries: int) -> Offer:
    """Queries that are all alike, their positive at 0, and candidates at 1, 2, ..."""
    passages = np.concatenate((POSITIVE[None], candidates)).astype(np.float32)
    vectors = MinedVectors(
        lambda asked: np.tile(QUERY, (len(asked), 1)).astype(np.float32), lambda those: passages[those]
    )
    listed = list(range(1, 1 + len(candidates)))
    return offer_of([listed] * queries, [[0]] * queries, vectors=vectors)


def draws(candidates: np.ndarray, queries: int, seed: int = 5, **settings: Any) -> Drawn:
    draw = function_of("sampler", chosen("sampler", "trisampler", **settings))
    made: Drawn = draw(offer(candidates, queries), np.random.default_rng(seed), positives="one")
    return made


def apart(candidate: np.ndarray) -> float:
    """The difference of two angles, in degrees."""
    angles = [math.acos(float(v @ QUERY) / math.sqrt(float(v @ v))) for v in (POSITIVE, candidate)]
    return abs(math.degrees(angles[0] - angles[1]))


def weights(candidates: np.ndarray) -> np.ndarray:
    return np.maximum(candidates @ POSITIVE - candidates @ QUERY, 0)


@pytest.fixture
def candidates() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 3))


def test_nothing_is_drawn_from_outside_the_region(candidates: np.ndarray) -> None:
    differences = np.array([apart(each) for each in candidates])
    for angle in (60.0, 20.0):
        negatives = draws(candidates, 4000, angle=angle, count=2).negatives
        assert (differences[negatives[negatives > 0] - 1] <= angle).all()
        allowed = (differences <= angle) & (weights(candidates) > 0)
        assert set(negatives[negatives > 0] - 1) == set(np.flatnonzero(allowed)) and not allowed.all()


def test_sides_and_angles(candidates: np.ndarray) -> None:
    given = offer(candidates, 2)
    gap, weight, degrees = triangle(given, given.positives, np.tile(np.arange(1, 41), (2, 1)))
    assert gap[1] == pytest.approx(candidates @ QUERY - POSITIVE @ QUERY, abs=1e-5)
    assert weight[1] == pytest.approx(candidates @ POSITIVE - candidates @ QUERY, abs=1e-5)
    assert degrees[0] == pytest.approx([apart(each) for each in candidates], abs=1e-3)


def test_the_second_stage_draws_in_proportion_to_the_relu(candidates: np.ndarray) -> None:
    queries = 40_000
    found = np.bincount(draws(candidates, queries, angle=180, pool=40).negatives[:, 0] - 1, minlength=40) / queries
    expected = weights(candidates) / weights(candidates).sum()
    assert found == pytest.approx(expected, abs=0.01) and not found[expected == 0].any()
    other = draws(candidates, queries, angle=180, pool=40, nearer="query").negatives[:, 0] - 1
    assert set(other) == set(np.flatnonzero(candidates @ QUERY > candidates @ POSITIVE))


def test_the_first_stage_peaks_at_a_gap_of_0_and_is_the_fallback() -> None:
    """Candidates along the query have no weight where the positive is nearer to the query than they."""
    lengths = np.array([-1.0, 0.0, 1.0, 2.0, 3.0]) + POSITIVE @ QUERY
    candidates = np.stack((lengths, -5 * np.ones(5), np.zeros(5)), 1)  # away from the positive
    assert not weights(candidates).any()
    queries = 40_000
    made = draws(candidates, queries, angle=180, pool=1)
    found = np.bincount(made.negatives[:, 0] - 1, minlength=5) / queries
    expected = np.exp(-np.array([1.0, 0.0, 1.0, 4.0, 9.0]) / 4)
    assert found == pytest.approx(expected / expected.sum(), abs=0.01) and found.argmax() == 1
    three = draws(candidates, 2000, angle=180, pool=3, count=4).negatives
    assert ((three > 0).sum(1) == 3).all() and all(len(set(row)) == 4 for row in three)


def test_a_query_without_candidates_or_region_draws_nothing() -> None:
    opposite = np.array([[-1.0, 0.0, 0.0]])
    assert (draws(opposite, 3).negatives == -1).all()
    empty = offer(opposite, 2)
    nothing = offer_of([[], [1]], [[0], [0]], vectors=empty.vectors)
    draw = function_of("sampler", chosen("sampler", "trisampler", angle=180))
    made = draw(nothing, np.random.default_rng(0), positives="one")
    assert made.negatives.tolist() == [[-1], [1]] and made.positives.tolist() == [[0], [0]]
    none = draw(offer_of([[], []], [[0], [0]], vectors=empty.vectors), np.random.default_rng(0), positives="one")
    assert (none.negatives == -1).all()


def test_a_training_reads_the_vectors_of_the_mined_ranking(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = {"queries": rng.normal(size=(12, 4)), "passages": rng.normal(size=(40, 4))}
    parents: dict[str, Artifact] = {"negatives": mined_lists(tmp_path / "mined", {q: [20, 21, 22] for q in range(12)})}
    for what, file in (("queries", "queries.train.npy"), ("passages", "passages.npy")):
        stage = stage_of(tmp_path / what, {})
        np.save(stage.folder / file, vectors[what].astype(np.float32))
        stage.facts = {"shards": [file]}
        parents[f"{what}_negatives"] = seal(stage, [file])
    sampler = chosen("sampler", "trisampler", k=3, angle=180, pool=3)
    settings = training_settings(source="run", sampler=sampler, train={**TRAIN, "batch_size": 4})
    meeting = Draws.of(settings, parents, JUDGED).at(2)
    for query, positive, negative in zip(meeting.rows, *(drawn[:, 0] for drawn in meeting.drawn[:2]), strict=True):
        q, p = vectors["queries"][query], vectors["passages"][positive]
        weight = {n: float(vectors["passages"][n] @ (p - q)) for n in (20, 21, 22)}
        assert weight[negative] > 0 or max(weight.values()) <= 0


def test_a_ranking_without_vectors_is_refused_and_the_plan_gives_them() -> None:
    train = {"steps": 5}
    systems: dict[str, Any] = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": train},
        "tried": {"preset": "trisampler", "from": "warm", "train": train},
    }
    analyses: dict[str, Any] = {"negatives": {}}
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": systems, "analyses": analyses}))
    (stage,) = [stage for stage in plan.of("dual_encoder") if stage.label == "tried"]
    (told,) = [stage for stage in plan.of("diagnosis") if stage.label == "tried"]  # which draws the same again
    for what in ("passages", "queries"):
        vectors = stage.parents[f"{what}_negatives"]
        assert (vectors.kind, vectors.label) == (what, "warm")
        assert told.parents[f"{what}_negatives"] is vectors
        assert vectors is stage.parents["negatives"].parents["run"].parents[what]
    systems["tried"]["source"] = {"system": "bm25"}
    with pytest.raises(HardnegError, match="The mined system has no vectors"):
        load({"collection": {"format": "pydocs"}, "systems": systems})
