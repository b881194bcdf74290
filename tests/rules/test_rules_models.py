"""What the scripts around models leave: training, vectors, the index, dense rankings and reranked ones."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from conftest import PASSAGES_EACH, TOPICS, new_project, small_config
from made_stages import DIM, SHARDS, TRAIN, Stages, check_run, columns, pairs
from safetensors.numpy import load_file

from hardneg.stages.artifacts import Artifact

PASSAGES, TRAINING = TOPICS * PASSAGES_EACH, 4 * TOPICS
STEPS: int = TRAIN["steps"]


def weights(made: Artifact) -> dict[str, np.ndarray]:
    """Every weight that a stage of training left, by file and name."""
    found: dict[str, np.ndarray] = {}
    for name in made.manifest["files"]:
        if name.endswith("model.safetensors"):
            found |= {f"{Path(name).parent.name}/{key}": value for key, value in load_file(made.path(name)).items()}
    return found


def check_trained(made: Artifact) -> None:
    """The loss was logged to the last step, with a learning rate that falls, and weights are numbers."""
    log = pd.read_csv(made.path("loss.csv"))
    assert log["step"].tolist() == list(range(TRAIN["log_every"], STEPS + 1, TRAIN["log_every"]))
    assert np.isfinite(log["loss"]).all() and (log["loss"] > 0).all()
    assert log["lr"].is_monotonic_decreasing and log["lr"].between(0, TRAIN["lr"]).all()
    assert made.facts["steps"] == STEPS and made.facts["queries"] == TRAINING
    found = weights(made)
    assert found and all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("label", ["inbatch", "bm25neg", "star", "margin_mse", "tas", "simans"])
def test_a_dual_encoder_learns(stages: Stages, label: str) -> None:
    stage = stages.stage("dual_encoder", label)
    made = stages.make(stage)
    check_trained(made)
    assert made.facts["dim"] == DIM
    expected = {
        "inbatch": set(),
        "bm25neg": {"negatives"},
        "star": {"negatives", "init"},
        "margin_mse": {"negatives", "teacher"},
        "tas": {"negatives", "teacher", "clusters", "init"},
        "simans": {"negatives", "init"},
    }[label]
    assert set(stage.parents) - {"collection", "tokenizer", "tokens"} == expected
    if "init" in stage.parents:
        before, after = weights(stages.make(stage.parents["init"])), weights(made)
        assert before.keys() == after.keys()
        moved = [np.abs(after[name] - before[name]).max() for name in before]
        assert 0 < max(moved) <= 2 * STEPS * TRAIN["lr"], "each of Adam's steps is about as long as the learning rate"


def test_a_query_encoder_keeps_what_it_met(stages: Stages) -> None:
    made = stages.made("query_encoder")
    check_trained(made)
    kept = load_file(made.path("kept.safetensors"))
    met = [int(name.partition(".")[0]) for name in kept if name.endswith(".retrieved")]
    assert sorted(met) == [2, 4, 6]
    for step in met:
        retrieved, scores = kept[f"{step:06d}.retrieved"], kept[f"{step:06d}.scores"]
        assert retrieved.shape == scores.shape == (TRAIN["batch_size"], 30)
        assert retrieved.min() >= 0 and retrieved.max() < PASSAGES
        assert (np.diff(scores, axis=1) <= 0).all()
        assert all(len(set(row)) == 30 for row in retrieved.tolist())


def test_a_cross_encoder_learns(stages: Stages) -> None:
    made = stages.made("cross_encoder")
    check_trained(made)
    assert made.facts["labels"] == 1


def test_a_late_interaction_learns(stages: Stages) -> None:
    stage = stages.stage("late_interaction")
    made = stages.make(stage)
    check_trained(made)
    assert made.facts["dim"] == stage.settings["encoder"]["width"]


def stacked(made: Artifact) -> np.ndarray:
    return np.concatenate([np.load(made.path(name)) for name in made.facts["shards"]])


def check_unit(vectors: np.ndarray, rows: int) -> None:
    assert vectors.shape == (rows, DIM) and vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors, axis=0)) > 0.9 * rows, "texts differ, and so do their vectors"


def test_passage_vectors_are_of_every_passage_and_of_unit_length(stages: Stages) -> None:
    made = stages.made("passages", "star")
    check_unit(stacked(made), PASSAGES)
    assert made.facts["rows"] == PASSAGES and made.facts["dim"] == DIM and made.facts["dtype"] == "float32"
    costs = [made.folder / f"shard-{shard:04d}-of-{SHARDS:04d}.cost.json" for shard in range(SHARDS)]
    assert all(path.exists() for path in costs)


def test_a_shard_that_is_missing_is_refused(stages: Stages, tmp_path: Path) -> None:
    stage = stages.stage("passages", "star")
    stages.make(stage)
    encode, *_, seal = map(list, stages.commands(stage))
    marker = tmp_path / f"shard-0000-of-{SHARDS:04d}.json"
    for command, output in ((encode, marker), (seal, tmp_path / "manifest.json")):
        command[command.index("--output") + 1] = str(output)
    assert stages.call(encode).status == 0
    said = stages.call([*seal[: seal.index("--markers") + 1], str(marker)])
    assert said.status == 1 and said.err.startswith("error: ") and "do not hold all passages" in said.err
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(("label", "split", "rows"), [("star", "test", TOPICS), ("bm25neg", "train", TRAINING)])
def test_query_vectors_are_of_every_query(stages: Stages, label: str, split: str, rows: int) -> None:
    made = stages.made("queries", label, splits=[split])
    check_unit(np.load(made.path(f"queries.{split}.npy")), rows)
    assert made.facts["dim"] == DIM


def test_the_index_gives_the_passage_vectors_back(stages: Stages) -> None:
    made = stages.made("index", "star")
    (name,) = made.facts["files"]
    index = faiss.read_index(str(made.path(name)))
    assert index.ntotal == made.facts["rows"] == PASSAGES and index.d == DIM
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert np.array_equal(index.reconstruct_n(0, PASSAGES), stacked(stages.made("passages", "star")))


@pytest.mark.parametrize("label", ["star", "adore"])
def test_a_dense_ranking_is_the_order_of_inner_products(stages: Stages, label: str) -> None:
    made = stages.made("run", label, splits=["test"])
    depth = stages.config["evaluation"]["depth"]
    table = check_run(made, "run.test.parquet", TOPICS, PASSAGES, depth)
    assert len(table["query"]) == TOPICS * depth
    queries = np.load(stages.made("queries", label, splits=["test"]).path("queries.test.npy"))
    exact = queries.astype(np.float64) @ stacked(stages.made("passages", "star")).astype(np.float64).T
    best = -np.sort(-exact, axis=1)[:, :depth]
    np.testing.assert_allclose(table["score"].reshape(TOPICS, depth), best, atol=1e-5)
    ranked = np.take_along_axis(exact, table["passage"].reshape(TOPICS, depth), axis=1)
    np.testing.assert_allclose(ranked, best, atol=1e-5)


@pytest.mark.parametrize("label", ["cross_encoder", "colbert"])
def test_a_reranked_run_reorders_its_first_stage(stages: Stages, label: str) -> None:
    stage = stages.stage("rerank", label)
    made, first = stages.make(stage), stages.make(stage.parents["run"])
    table = check_run(made, "run.test.parquet", TOPICS, PASSAGES, 20)
    before = columns(first, "run.test.parquet")
    assert pairs(table) == pairs(before)
    assert table["passage"].tolist() != before["passage"].tolist()
    for query in range(TOPICS):
        ranks = table["rank"][table["query"] == query]
        assert ranks.tolist() == list(range(1, len(ranks) + 1))


def test_the_negatives_of_a_reordered_ranking_are_diagnosed(tmp_path: Path) -> None:
    """A reranker is mined like any other system; its ranking is as deep as what it reordered."""
    project = new_project(tmp_path / "project")
    config = small_config()
    mined = {"source": {"name": "run", "system": "rerank", "depth": 15}, "sampler": {"k": 15}, "train": TRAIN}
    config["systems"] = {
        "bm25": {"preset": "bm25"},
        "rerank": {"preset": "rerank", "rerank": {"depth": 20}, "source": {"depth": 20}, "sampler": {"k": 20}},
        "mined": {"preset": "simans", "filter": [], **mined},
    }
    config["systems"]["rerank"]["train"] = TRAIN
    config["export"] = []
    stages = Stages(project.folder, config)
    (training,) = [stage for stage in stages.plan.of("rerank") if stage.settings["splits"] == ["train"]]
    found = columns(stages.made("diagnosis", "mined"), "by_rank.parquet")
    assert found["last"].max() == training.settings["depth"]
