"""TAS-Balanced: batches of one topic, pairs drawn evenly over the teacher's margins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawing import offer_of

from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import PairScores, TrainingQueries
from hardneg.methods.samplers.margin_bins import binned
from hardneg.retrieval.clusters import CLUSTERS, cluster


def queries(topics: list[int], batch_size: int) -> TrainingQueries:
    positions = np.arange(50, 50 + len(topics))
    return TrainingQueries(positions, batch_size, 7, np.array(topics))


def test_a_batch_is_of_one_topic_and_topics_are_drawn_alike() -> None:
    rows_of = function_of("order", {"name": "topics", "clusters": 3, "per_batch": 1})
    given = queries([0] * 20 + [1] * 40 + [2] * 60, 8)
    met = []
    for step in range(600):
        rows = rows_of(given, step)
        (topic,) = set(given.topics[rows - 50])  # type: ignore[index]
        met.append(topic)
        assert len(set(rows)) == 8
    assert np.bincount(met) / 600 == pytest.approx([1 / 3] * 3, abs=0.07)
    assert np.array_equal(rows_of(given, 3), rows_of(given, 3))


def test_several_topics_share_a_batch_and_a_small_one_is_topped_up() -> None:
    given = queries([0] * 3 + [1] * 30 + [2] * 30, 12)
    two = function_of("order", {"name": "topics", "clusters": 3, "per_batch": 2})
    for step in range(200):
        counts = np.bincount(given.topics[two(given, step) - 50], minlength=3)  # type: ignore[index]
        assert counts.sum() == 12 and (counts[0] == 3 or (counts == [0, 6, 6]).all())
    small = function_of("order", {"name": "topics", "clusters": 3, "per_batch": 1})
    sizes = [np.bincount(given.topics[small(given, step) - 50], minlength=3) for step in range(100)]  # type: ignore[index]
    assert any(size[0] == 3 and size.sum() == 12 for size in sizes)


def test_every_bin_that_holds_a_pair_is_drawn_alike() -> None:
    margins = np.array([0.0, 0.1, 0.2, 0.25, 0.3, 5.0, 9.9, 10.0])  # of ten bins three hold pairs: 0, 5, 9
    count = 9000
    teacher = PairScores(
        np.repeat(np.arange(count), 9),
        np.tile(np.arange(9), count),
        np.tile(np.concatenate(([10.0], 10 - margins)), count).astype(np.float32),
        9,
    )
    offer = offer_of([list(range(1, 9))] * count, [[0]] * count, teacher=teacher)
    made = function_of("sampler", {"name": "margin_bins", "k": 8, "bins": 10})(
        offer, np.random.default_rng(2), positives="one"
    )
    drawn = made.negatives[:, 0] - 1
    assert binned(margins, 10).tolist() == [0, 0, 0, 0, 0, 5, 9, 9]
    shares = np.bincount(binned(margins, 10)[drawn], minlength=10) / count
    assert shares[[0, 5, 9]] == pytest.approx([1 / 3] * 3, abs=0.02) and shares.sum() == pytest.approx(1)
    inside = np.bincount(drawn[drawn < 5], minlength=5) / (drawn < 5).sum()
    assert inside == pytest.approx([0.2] * 5, abs=0.03)


def test_the_positive_and_the_negative_are_drawn_together() -> None:
    """Two positives and two candidates, whose four margins are in four bins: all pairs come alike."""
    count = 8000
    scores = np.tile(np.array([3.0, 7.0, 2.0, 1.0], np.float32), count)
    teacher = PairScores(np.repeat(np.arange(count), 4), np.tile(np.arange(4), count), scores, 4)
    offer = offer_of([[2, 3]] * count, [[0, 1]] * count, teacher=teacher)
    made = function_of("sampler", {"name": "margin_bins", "k": 2, "bins": 10})(
        offer, np.random.default_rng(4), positives="one"
    )
    pairs, counts = np.unique(np.concatenate((made.positives, made.negatives), 1), axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert counts / count == pytest.approx([0.25] * 4, abs=0.02)


def test_equal_margins_are_one_bin_and_unscored_pairs_draw_nothing() -> None:
    assert binned(np.array([2.0, 2.0]), 10).tolist() == [0, 0]
    nothing = PairScores(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), 9)
    offer = offer_of([[5, 6]] * 3, [[1]] * 3, teacher=nothing)
    made = function_of("sampler", {"name": "margin_bins", "k": 2, "bins": 10})(
        offer, np.random.default_rng(4), positives="one"
    )
    assert (made.negatives == -1).all() and (made.positives == 1).all()


def test_queries_are_clustered_with_those_near_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(4, 8, dtype=np.float32) * 10
    truth = rng.integers(4, size=200)
    np.save(tmp_path / "queries.npy", centres[truth] + rng.normal(size=(200, 8)).astype(np.float32) * 0.1)
    facts = cluster(tmp_path / "queries.npy", 12, 3, tmp_path / CLUSTERS)
    found = pq.read_table(tmp_path / CLUSTERS)["topic"].to_numpy()
    assert facts["clusters"] == 12 and facts["filled"] == len(np.unique(found)) > 4
    assert all(len(set(truth[found == topic])) == 1 for topic in np.unique(found))
    with pytest.raises(HardnegError, match="fewer training queries than clusters"):
        cluster(tmp_path / "queries.npy", 201, 3, tmp_path / CLUSTERS)
