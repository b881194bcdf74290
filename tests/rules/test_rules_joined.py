"""Several collections that train together: each query, batch and ranking keeps to its own collection."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import PASSAGES_EACH, TOPICS, small_config, write_collection
from made import RUNTIME, killed_at
from made_stages import MINED, TRAIN, Stages, columns
from safetensors.numpy import load_file

from hardneg.config import load
from hardneg.data.judgements import Judgements
from hardneg.data.members import Member, members_of
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.training.draws import Draws
from hardneg.training.train import train

PASSAGES, QUERIES = TOPICS * PASSAGES_EACH, {"train": 96, "test": 24}
PARTS = [{"format": "beir", "name": name, "path": name} for name in ("one", "two")]


def config() -> dict[str, Any]:
    """BM25, in-batch negatives of four queries a batch, and what mines the result and draws at random besides."""
    given = small_config()
    train = {**TRAIN, "batch_size": 4, "steps": 12}
    source = [{"name": "run", "depth": 30}, {"name": "random"}]
    given["collection"] = {"format": "joined", "name": "both", "parts": PARTS, "weights": {"one": 3, "two": 1}}
    given["systems"] = {
        "bm25": {"preset": "bm25"},
        "inbatch": {"preset": "inbatch_softmax", "train": train},
        "star": {"preset": "star", "from": "inbatch", "train": train, **MINED, "source": source},
        "bm25neg": {"preset": "bm25neg", "loss": "softmax", "train": train},
        "adore": {
            "preset": "adore",
            "from": "inbatch",
            "source": {"depth": 30},
            "train": {**train, "log_retrieved_every": 1},
        },
    }
    given |= {"export": [], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    given["splits"] = {"evaluate": ["test", "one.test", "two.test"]}
    given["evaluation"] |= {"depth": 20}
    given["analyses"] = {"negatives": {}, "agreement": None, "examples": None}
    given["evaluate_on"] = [{"split": "one.test"}, {"split": "two.test"}]
    return given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("joined")
    for seed, name in enumerate(("one", "two")):
        write_collection(folder / name, seed)
    return Stages(folder, config())


@pytest.fixture(scope="module")
def collection(made: Stages) -> Artifact:
    return made.made("collection")


def own(members: list[Member], split: str, query: np.ndarray, passage: np.ndarray) -> bool:
    """Whether every passage is of its query's collection."""
    asked = np.repeat(np.arange(len(members)), [len(member.queries[split]) for member in members])
    found = np.repeat(np.arange(len(members)), [len(member.passages) for member in members])
    return bool((asked[query] == found[passage]).all())


def test_ids_carry_the_name_and_positions_the_order(collection: Artifact) -> None:
    members = members_of(collection.facts)
    assert [member.name for member in members] == ["one", "two"]
    assert [member.passages for member in members] == [range(PASSAGES), range(PASSAGES, 2 * PASSAGES)]
    passages = pq.read_table(collection.path("passages.parquet"))["passage_id"].to_pylist()
    queries = pq.read_table(collection.path("queries.train.parquet"))["query_id"].to_pylist()
    for name, found, count in (("one", passages, PASSAGES), ("two", passages, PASSAGES), ("two", queries, 96)):
        assert sum(text.startswith(f"{name}/") for text in found) == count
    assert len(set(passages)) == 2 * PASSAGES, "both collections have the same ids"
    assert passages[PASSAGES] == "two/" + passages[0].removeprefix("one/")
    assert members[1].queries["test"] == range(24, 48) and members[1].queries["one.test"] == range(24, 24)
    judged = columns(collection, "qrels.train.parquet")
    assert own(members, "train", judged["query"], judged["passage"]) and len(judged["query"]) == 192


@pytest.mark.parametrize(("kind", "label"), [("bm25_run", "bm25"), ("run", "inbatch")])
def test_rankings_keep_to_the_own_collection(made: Stages, collection: Artifact, kind: str, label: str) -> None:
    run = made.made(kind, label, splits=["test", "one.test", "two.test"])
    found, members = columns(run, "run.test.parquet"), members_of(collection.facts)
    assert own(members, "test", found["query"], found["passage"])
    for number, member in enumerate(members):
        alone, rows = columns(run, f"run.{member.name}.test.parquet"), found["query"] // 24 == number
        np.testing.assert_array_equal(alone["passage"], found["passage"][rows])
        np.testing.assert_array_equal(alone["score"], found["score"][rows])


def test_bm25_scores_as_it_does_on_the_collection_alone(made: Stages) -> None:
    alone = {**config(), "collection": PARTS[1], "splits": {"train": None, "evaluate": ["test"]}}
    alone |= {"systems": {"bm25": {"preset": "bm25"}}, "evaluate_on": [], "analyses": {}}
    other = columns(Stages(made.folder, alone).made("bm25_run"), "run.test.parquet")
    both = columns(made.made("bm25_run", "bm25", splits=["test", "one.test", "two.test"]), "run.two.test.parquet")
    np.testing.assert_array_equal(both["passage"] - PASSAGES, other["passage"])
    np.testing.assert_array_equal(both["score"], other["score"])


def test_exact_search_finds_the_best_of_the_own_collection(made: Stages) -> None:
    vectors = made.made("passages", "inbatch")
    whole = np.concatenate([np.load(vectors.path(name)) for name in vectors.facts["shards"]])
    queries = made.made("queries", "inbatch", splits=["test", "one.test", "two.test"])
    scores = np.load(queries.path("queries.test.npy")) @ whole.T
    found = columns(made.made("run", "inbatch"), "run.test.parquet")
    for query in range(48):
        range_ = slice(0, PASSAGES) if query < 24 else slice(PASSAGES, 2 * PASSAGES)
        best = -np.sort(-scores[query, range_])[:20]
        np.testing.assert_allclose(found["score"][found["query"] == query], best, atol=1e-5)


@pytest.mark.parametrize("label", ["inbatch", "star", "bm25neg"])
def test_every_batch_is_of_one_collection(made: Stages, collection: Artifact, label: str) -> None:
    training = made.stage("dual_encoder", label)
    model, parents = made.make(training), {role: made.make(parent) for role, parent in training.parents.items()}
    judged = Judgements.read(collection.path("qrels.train.parquet"), 192, 2 * PASSAGES)
    draws, drawn = Draws.of(training.settings, parents, judged), {"one": 0, "two": 0}
    for step in range(12):
        meeting = draws.at(step)
        member = "one" if meeting.rows[0] < 96 else "two"
        there = meeting.passages[meeting.passages >= 0]
        assert ((meeting.rows < 96) == (member == "one")).all()
        assert ((there < PASSAGES) == (member == "one")).all()
        drawn[member] += 1
    assert model.facts["batches"] == drawn and drawn["one"] > drawn["two"] > 0


def test_a_live_search_is_in_the_batchs_own_collection(made: Stages) -> None:
    """What was kept of each step: the best passages of the queries' own collection by the vectors of that step."""
    model, vectors = made.made("query_encoder", "adore"), made.made("passages", "inbatch")
    whole = np.concatenate([np.load(vectors.path(name)) for name in vectors.facts["shards"]])
    kept, seen = load_file(model.path("kept.safetensors")), set()
    for step in range(1, 13):
        rows, asked = kept[f"{step:06d}.queries"], kept[f"{step:06d}.vectors"]
        first = 0 if rows[0] < 96 else PASSAGES
        best = np.sort(asked @ whole[first : first + PASSAGES].T, axis=1)[:, ::-1][:, :30]
        np.testing.assert_allclose(kept[f"{step:06d}.scores"], best, atol=1e-5)
        found = kept[f"{step:06d}.retrieved"]
        assert ((found >= first) & (found < first + PASSAGES)).all()
        seen.add(first)
    assert seen == {0, PASSAGES} and model.facts["batches"].keys() == {"one", "two"}


def test_mined_negatives_are_of_the_own_collection(made: Stages, collection: Artifact) -> None:
    for label in ("inbatch", "bm25"):
        found = columns(made.made("mine", label), "negatives.parquet")
        assert own(members_of(collection.facts), "train", found["query"], found["passage"])
        assert len(np.unique(found["query"])) > 150


def test_a_training_that_was_killed_ends_with_the_same_bytes(made: Stages, tmp_path: Path) -> None:
    planned = made.stage("dual_encoder", "inbatch")
    parents, cpu = {role: made.make(parent) for role, parent in planned.parents.items()}, [torch.device("cpu")]
    stages = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        stages.append(StageFolder(tmp_path / name, planned.record, parents))
    whole = {name: (stages[0].folder / name).read_bytes() for name in train(stages[0], RUNTIME, cpu)}
    with killed_at(5):
        train(stages[1], RUNTIME, cpu)
    assert {name: (stages[1].folder / name).read_bytes() for name in train(stages[1], RUNTIME, cpu)} == whole
    assert stages[1].facts["batches"] == stages[0].facts["batches"]


def test_each_part_is_measured_and_the_mean_is_of_both(made: Stages) -> None:
    names = [(scored.name, scored.split) for scored in made.plan.scored]
    assert names == [("one.test", "one.test"), ("two.test", "two.test")]
    measure = made.made("measure", "inbatch")
    splits = config()["splits"]["evaluate"]
    each = {split: pd.read_parquet(measure.path(f"measures.{split}.parquet")) for split in splits}
    means = {split: table[table["measure"] == "nDCG@10"]["value"].mean() for split, table in each.items()}
    assert means["test"] == pytest.approx((means["one.test"] + means["two.test"]) / 2)
    assert set(each["two.test"]["query_id"].str.split("/").str[0]) == {"two"}


def test_weights_change_trainings_alone(made: Stages) -> None:
    other = deepcopy(config())
    other["collection"]["weights"] = "queries"
    with contextlib.chdir(made.folder):
        plan = Plan(load(other))
    kinds = ("collection", "tokens", "bm25_index", "bm25_run")
    assert [s.version for s in plan.of(*kinds)] == [s.version for s in made.plan.of(*kinds)]
    assert plan.systems["inbatch"].model is not None and made.plan.systems["inbatch"].model is not None
    assert plan.systems["inbatch"].model.version != made.plan.systems["inbatch"].model.version
    assert not plan.analyses.errors
