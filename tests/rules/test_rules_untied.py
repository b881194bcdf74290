"""Untied encoders (DPR) through the scripts: each text is encoded by its own side, from training to export."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from conftest import PASSAGES_EACH, TOPICS, small_config, write_collection
from made_stages import TRAIN, Stages, columns
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from hardneg.cli.ask import Answerer
from hardneg.data.template import Reading
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore, passage_texts, query_texts

PASSAGES = TOPICS * PASSAGES_EACH


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("untied")
    write_collection(folder / "data")
    config = small_config()
    config["encoder"] |= {"untied": True, "passage_length": 40}
    config["systems"] = {
        "bm25": {"preset": "bm25"},
        "dpr": {"preset": "dpr", "train": TRAIN},
        "star": {"preset": "star", "from": "dpr", "source": {"depth": 30}, "sampler": {"k": 30}, "train": TRAIN},
        "adore": {"preset": "adore", "from": "star", "source": {"depth": 30}, "train": TRAIN},
    }
    config |= {"export": ["dpr", "adore"], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    config["analyses"] = {"negatives": {"teacher": "star"}}
    config["splits"] = {"evaluate": ["test"]}
    return Stages(folder, config)


def sides(made: Artifact) -> dict[str, dict[str, np.ndarray]]:
    """The weights of the BERT of each side."""
    places = {"query": "encoder/backbone", "passage": "passages/encoder/backbone"}
    return {side: load_file(made.path(f"{place}/model.safetensors")) for side, place in places.items()}


def stacked(made: Artifact) -> np.ndarray:
    return np.concatenate([np.load(made.path(name)) for name in made.facts["shards"]])


def by_hand(stages: Stages, model: Artifact, place: str, name: str) -> np.ndarray:
    """Vectors of all texts of a kind, one by one, by Transformers alone."""
    bert, store = AutoModel.from_pretrained(model.folder / place).eval(), TokenStore(stages.made("tokens"), name)
    found = []
    with torch.inference_mode():
        for row in range(len(store)):
            ids, mask = (torch.from_numpy(part) for part in store.batch(np.array([row])))
            hidden = bert(input_ids=ids, attention_mask=mask).last_hidden_state[0]
            found.append(torch.nn.functional.normalize(hidden[mask[0] == 1].mean(0), dim=0).numpy())
    return np.stack(found)


def test_both_sides_train_and_part(made: Stages) -> None:
    found = sides(made.made("dual_encoder", "dpr"))
    after = sides(made.made("dual_encoder", "star"))
    assert found["query"].keys() == found["passage"].keys()
    assert any(not np.array_equal(found["query"][name], found["passage"][name]) for name in found["query"])
    for side in ("query", "passage"):
        moved = [np.abs(after[side][name] - found[side][name]).max() for name in found[side]]
        assert 0 < max(moved) <= 2 * TRAIN["steps"] * TRAIN["lr"]


def test_each_text_is_encoded_by_its_side(made: Stages) -> None:
    model = made.made("dual_encoder", "dpr")
    asked = np.load(made.made("queries", "dpr", splits=["test"]).path("queries.test.npy"))
    passages = stacked(made.made("passages", "dpr"))
    own = by_hand(made, model, "encoder/backbone", "queries.test")
    np.testing.assert_allclose(asked, own, atol=1e-5)
    np.testing.assert_allclose(passages, by_hand(made, model, "passages/encoder/backbone", "passages"), atol=1e-5)
    other = by_hand(made, model, "passages/encoder/backbone", "queries.test")
    assert np.abs(asked - other).max() > 1e-3, "the sides are two"


def test_mining_ranks_with_both_sides(made: Stages) -> None:
    stage = made.stage("dual_encoder", "star").parents["negatives"].parents["run"]
    run = columns(made.make(stage), "run.train.parquet")
    queries = np.load(made.make(stage.parents["queries"]).path("queries.train.npy"))
    scores = queries @ stacked(made.make(stage.parents["passages"])).T
    rows = run["query"] == 0
    np.testing.assert_allclose(scores[0, run["passage"][rows]], run["score"][rows], atol=1e-5)


def test_a_query_encoder_trains_over_the_passages_of_the_passage_side(made: Stages) -> None:
    trained, before = made.made("query_encoder", "adore"), sides(made.made("dual_encoder", "star"))
    after = load_file(trained.path("encoder/backbone/model.safetensors"))
    assert any(not np.array_equal(after[name], before["query"][name]) for name in after)
    moved = max(np.abs(after[name] - before["query"][name]).max() for name in after)
    assert 0 < moved <= 2 * TRAIN["steps"] * TRAIN["lr"], "it starts from the query side"
    assert not any(name.startswith("passages/") for name in trained.manifest["files"])
    run = made.stage("run", "adore")
    assert run.parents["passages"] is made.stage("passages", "star")
    assert made.plan.systems["adore"].passage_model is made.plan.systems["star"].model


@pytest.mark.parametrize("system", ["dpr", "adore"])
def test_an_export_encodes_each_text_with_its_side(made: Stages, system: str) -> None:
    exported, source = made.made("export", system), "star" if system == "adore" else system
    texts = {
        "query": list(query_texts(made.made("collection"), "test")),
        "passage": list(passage_texts(made.made("collection"), Reading("{title} {text}", ""))),
    }
    ours = {
        "query": np.load(made.made("queries", system, splits=["test"]).path("queries.test.npy")),
        "passage": stacked(made.made("passages", source)),
    }
    for kind in ("query", "passage"):
        model = SentenceTransformer(str(exported.folder / f"{kind}_encoder"), device="cpu")
        np.testing.assert_allclose(model.encode(texts[kind], convert_to_numpy=True), ours[kind], atol=1e-5)
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    assert "have separate encoders" in card and "share one encoder" not in card


def test_a_question_is_answered_as_in_the_run(made: Stages) -> None:
    run = columns(made.made("run", "dpr"), "run.test.parquet")
    text = str(columns(made.made("collection"), "queries.test.parquet")["text"][0])
    with contextlib.chdir(made.folder):
        best = Answerer(made.plan, "dpr").answer(text, 5)
    ids = columns(made.made("collection"), "passages.parquet")["passage_id"]
    mine = run["query"] == 0
    assert [one.id for one in best] == list(ids[run["passage"][mine][:5]])
    np.testing.assert_allclose([one.score for one in best], run["score"][mine][:5], atol=1e-5)


def test_the_diagnosis_of_its_negatives_is_made(made: Stages) -> None:
    assert made.made("diagnosis", "star").manifest["files"]
