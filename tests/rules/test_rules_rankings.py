"""What the scripts around rankings leave: BM25, rankings and vectors from elsewhere, mining, pair scores, clusters."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import PASSAGES_EACH, TOPICS
from made_stages import DIM, MINED, Stages, check_run, columns, pairs, relevant_rows

from hardneg.stages.artifacts import Artifact

PASSAGES, TRAINING = TOPICS * PASSAGES_EACH, 4 * TOPICS


def judged(stages: Stages, split: str) -> dict[str, np.ndarray]:
    return columns(stages.made("collection"), f"qrels.{split}.parquet")


def by_pair(table: dict[str, np.ndarray]) -> dict[tuple[int, int], float]:
    rows = zip(table["query"].tolist(), table["passage"].tolist(), strict=True)
    return dict(zip(rows, table["score"].tolist(), strict=True))


def test_the_lucene_index_holds_every_passage(stages: Stages) -> None:
    made = stages.made("bm25_index")
    assert made.facts["passages"] == PASSAGES and made.facts["blank"] == 0
    assert all(name.startswith("lucene/") for name in made.manifest["files"])


def test_bm25_ranks_words_that_queries_share_with_passages(stages: Stages) -> None:
    """Two words of a query stand in its relevant passage alone."""
    made = stages.made("bm25_run", splits=["test"])
    table = check_run(made, "run.test.parquet", TOPICS, PASSAGES, stages.config["evaluation"]["depth"])
    assert made.facts["test"] == {"queries": TOPICS, "hits": len(table["query"]), "queries_without_hits": 0}
    first = table["passage"][table["rank"] == 1]
    assert (first == relevant_rows()).mean() > 0.8


def test_a_ranking_from_elsewhere_is_taken_as_it_is(stages: Stages) -> None:
    table = check_run(stages.made("given_run"), "run.test.parquet", TOPICS, PASSAGES, 5)
    offsets = np.arange(-2, 3)  # the relevant passage is the third of five
    assert table["passage"].tolist() == (relevant_rows()[:, None] + offsets).ravel().tolist()
    assert table["score"].tolist() == [9, 8, 7, 6, 5] * TOPICS


def test_vectors_from_elsewhere_are_taken_as_they_are(stages: Stages) -> None:
    made = stages.made("given_vectors")
    assert made.facts["rows"] == PASSAGES and made.facts["dim"] == DIM
    (shard,) = made.facts["shards"]
    given = np.load(stages.folder / "passages.npy")
    assert np.array_equal(np.load(made.path(shard)), given)
    assert np.array_equal(np.load(made.path("queries.test.npy")), given[relevant_rows()])


@pytest.mark.parametrize(("label", "system"), [("bm25", "bm25neg"), ("bm25neg", "star"), ("bm25neg", "simans")])
def test_mined_negatives_are_the_ranking_without_judged_positives(stages: Stages, label: str, system: str) -> None:
    trained = stages.stage("dual_encoder", system)
    mined = trained.parents["negatives"]
    assert mined in stages.plan.of("mine") and mined.label == label
    made, ranking = stages.make(mined), stages.make(mined.parents["run"])
    depth = ranking.settings["depth"]
    kept = check_run(made, "negatives.parquet", TRAINING, PASSAGES, depth)
    ranked = check_run(ranking, "run.train.parquet", TRAINING, PASSAGES, depth)
    relevant = pairs(judged(stages, "train"))
    assert not pairs(kept) & relevant
    assert pairs(kept) == pairs(ranked) - relevant
    scores = by_pair(ranked)
    assert all(scores[pair] == score for pair, score in by_pair(kept).items())
    assert made.facts["candidates"] == len(kept["query"])
    assert made.facts["positives_removed"] == len(pairs(ranked) & relevant)


def test_a_sampler_by_the_positives_score_gets_the_score_of_every_positive(stages: Stages) -> None:
    mined = stages.stage("dual_encoder", "simans").parents["negatives"]
    positives = columns(stages.make(mined), "positives.parquet")
    assert pairs(positives) == pairs(judged(stages, "train"))
    assert np.isfinite(positives["score"]).all()


def vectors(stages: Stages, scored: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Query and passage vectors that a stage of pair scores read."""
    parents = stages.stage("pair_scores", scored.manifest["label"]).parents
    passages, queries = stages.make(parents["passages"]), stages.make(parents["queries"])
    parts = [np.load(passages.path(name)) for name in passages.facts["shards"]]
    return np.load(queries.path("queries.train.npy")), np.concatenate(parts)


def test_pair_scores_of_a_dense_system_are_inner_products_of_judged_pairs(stages: Stages) -> None:
    made = stages.made("pair_scores", "bm25neg")
    table = columns(made, "scores.parquet")
    assert pairs(table) == pairs(judged(stages, "train")) and made.facts["pairs"] == len(table["query"])
    asked, encoded = vectors(stages, made)
    expected = np.einsum("nd,nd->n", asked[table["query"]], encoded[table["passage"]])
    np.testing.assert_allclose(table["score"], expected, atol=1e-5)


def test_a_teachers_scores_cover_judged_and_mined_pairs(stages: Stages) -> None:
    made = stages.made("pair_scores", "cross_encoder")
    table = columns(made, "scores.parquet")
    mined = stages.make(stages.stage("pair_scores", "cross_encoder").parents["negatives"])
    assert pairs(table) == pairs(judged(stages, "train")) | pairs(columns(mined, "negatives.parquet"))
    assert made.facts["pairs"] == len(table["query"]) == len(pairs(table)), "a pair is scored once"
    assert np.isfinite(table["score"]).all() and len(np.unique(table["score"])) > 100
    assert columns(mined, "negatives.parquet")["rank"].max() <= MINED["source"]["depth"]


def test_clusters_hold_every_training_query_at_its_nearest_centre(stages: Stages) -> None:
    stage = stages.stage("clusters")
    made = stages.make(stage)
    topics = columns(made, "clusters.parquet")["topic"]
    sizes = np.bincount(topics, minlength=4)
    assert len(topics) == TRAINING and topics.min() >= 0 and topics.max() < 4
    assert made.facts == {"clusters": 4, "filled": 4, "smallest": sizes.min(), "largest": sizes.max()}
    asked = np.load(stages.make(stage.parents["queries"]).path("queries.train.npy"))
    centres = np.stack([asked[topics == topic].mean(axis=0) for topic in range(4)])
    nearest = ((asked[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == topics).mean() > 0.95
