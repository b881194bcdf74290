"""Two backbones, DPR's question and context encoders, as they are and trained further, through the scripts."""

from __future__ import annotations

import importlib.util
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config, write_collection
from made_stages import TRAIN, Stages
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    DPRConfig,
    DPRContextEncoder,
    DPRContextEncoderTokenizer,
    DPRQuestionEncoder,
    DPRQuestionEncoderTokenizer,
)

from hardneg.config import Encoder as Settings
from hardneg.data.template import Reading
from hardneg.errors import HardnegError
from hardneg.model.encoder import initial_encoder
from hardneg.planning.sides import resolved_sides
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import passage_texts, query_texts

LETTERS = [*string.ascii_letters, *string.digits]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
SIZE: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
LENGTHS = {"query_length": 16, "passage_length": 40}
KINDS: dict[str, tuple[Any, Any]] = {
    "question": (DPRQuestionEncoder, DPRQuestionEncoderTokenizer),
    "ctx": (DPRContextEncoder, DPRContextEncoderTokenizer),
}


def checkpoint(folder: Path, kind: str, seed: int, **changes: Any) -> Path:
    """A miniature of a published checkpoint."""
    model_class, tokenizer_class = KINDS[kind]
    torch.manual_seed(seed)
    model = model_class(DPRConfig(vocab_size=len(PIECES), max_position_embeddings=48, **{**SIZE, **changes}))
    for parameter in model.parameters():  # far from the small numbers they begin with
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    pieces = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer_class(vocab=pieces, do_lower_case=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("dpr")
    write_collection(folder / "data")
    config = small_config()
    places = {"backbone": checkpoint(folder / "question", "question", 1)}
    places |= {"passage_backbone": checkpoint(folder / "ctx", "ctx", 2)}
    config["encoder"] = {**LENGTHS, **{key: str(place) for key, place in places.items()}, "untied": True}
    config["systems"] = {
        "plain": {"preset": "pretrained"},
        "inbatch": {"preset": "inbatch_softmax", "train": TRAIN},
        "adore": {"preset": "adore", "from": "plain", "source": {"depth": 30}, "train": TRAIN},
    }
    config |= {"export": ["plain"], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    config["splits"] = {"evaluate": ["test"]}
    return Stages(folder, config)


def theirs(folder: Path, kind: str, texts: list[str], length: int) -> np.ndarray:
    """What Transformers' own class makes of texts."""
    model, tokenizer = KINDS[kind][0].from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
            found.append(model(input_ids=ids["input_ids"]).pooler_output[0].numpy())
    return np.stack(found)


def texts_of(stages: Stages) -> dict[str, list[str]]:
    collection = stages.made("collection")
    passages = list(passage_texts(collection, Reading("{title} {text}", "")))
    return {"query": list(query_texts(collection, "test")), "passage": passages}


def vectors(stages: Stages) -> dict[str, np.ndarray]:
    passages = stages.made("passages", "pretrained")
    queries = stages.plan.systems["plain"].queries
    assert queries is not None
    asked = stages.make(queries)
    return {
        "query": np.load(asked.path("queries.test.npy")),
        "passage": np.concatenate([np.load(passages.path(name)) for name in passages.facts["shards"]]),
    }


def test_the_first_token_is_the_vector_as_in_their_own_class(made: Stages) -> None:
    assert made.plan.config.encoder.pooling == "cls"
    texts, ours = texts_of(made), vectors(made)
    for kind, place, length in (("query", "question", 16), ("passage", "ctx", 40)):
        expected = theirs(made.folder / place, place, texts[kind], length)
        np.testing.assert_allclose(ours[kind], expected, atol=1e-4)


def test_an_export_of_both_gives_the_same_vectors(made: Stages) -> None:
    exported, texts, ours = made.made("export", "plain"), texts_of(made), vectors(made)
    for kind in ("query", "passage"):
        model = SentenceTransformer(str(exported.folder / f"{kind}_encoder"), device="cpu")
        np.testing.assert_allclose(model.encode(texts[kind], convert_to_numpy=True), ours[kind], atol=1e-4)
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    assert "have separate encoders" in card and "Settings of the passage encoder" in card


def weights(model: Artifact, place: str) -> dict[str, np.ndarray]:
    return load_file(model.path(f"{place}/backbone/model.safetensors"))


def test_each_side_trains_from_its_own_backbone(made: Stages) -> None:
    trained = made.made("dual_encoder", "inbatch")
    for place, folder in (("encoder", "question"), ("passages/encoder", "ctx")):
        start, prefix = load_file(made.folder / folder / "model.safetensors"), f"{folder}_encoder.bert_model."
        after = weights(trained, place)
        moved = [np.abs(after[name] - start[f"{prefix}{name}"]).max() for name in after]
        assert 0 < max(moved) <= 2 * TRAIN["steps"] * TRAIN["lr"]


def test_a_query_encoder_trains_over_the_context_encoders_passages(made: Stages) -> None:
    trained = made.made("query_encoder", "adore")
    start = load_file(made.folder / "question" / "model.safetensors")
    after = weights(trained, "encoder")
    moved = [np.abs(after[name] - start[f"question_encoder.bert_model.{name}"]).max() for name in after]
    assert 0 < max(moved) <= 2 * TRAIN["steps"] * TRAIN["lr"]
    assert made.stage("run", "adore").parents["passages"].parents["model"].label == "pretrained"


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed: pip install '.[lora]'")
def test_adapters_of_each_side_refer_to_its_own_backbone(made: Stages) -> None:
    config = {**made.config, "encoder": {**made.config["encoder"], "lora": {"rank": 2, "alpha": 4}}}
    config["systems"] = {"inbatch": {"preset": "inbatch_softmax", "train": {**TRAIN, "lr": 0.05}}}
    config["export"] = ["inbatch"]
    adapted = Stages(made.folder, config)
    trained = adapted.made("dual_encoder", "inbatch")
    assert not any("backbone/" in name for name in trained.manifest["files"])
    sides = [load_file(trained.path(f"{place}/adapters.safetensors")) for place in ("encoder", "passages/encoder")]
    assert any(not np.array_equal(sides[0][name], sides[1][name]) for name in sides[0])
    exported, texts = adapted.made("export", "inbatch"), texts_of(adapted)
    passages = adapted.made("passages", "inbatch")
    ours = np.concatenate([np.load(passages.path(name)) for name in passages.facts["shards"]])
    model = SentenceTransformer(str(exported.folder / "passage_encoder"), device="cpu")
    np.testing.assert_allclose(model.encode(texts["passage"], convert_to_numpy=True), ours, atol=1e-4)


def settings(place: Path) -> dict[str, Any]:
    return {**Settings(backbone=str(place), pooling="cls", normalize=False).model_dump(mode="json"), "revision": None}


def test_what_is_no_plain_encoder_of_dpr_is_refused(tmp_path: Path) -> None:
    projected = checkpoint(tmp_path / "projected", "question", 1, projection_dim=8)
    with pytest.raises(HardnegError, match="a linear layer after the BERT"):
        initial_encoder(settings(projected), 0, 0, 0, str(projected), 1)
    reader = checkpoint(tmp_path / "reader", "question", 1)
    said = (reader / "config.json").read_text(encoding="utf-8")
    (reader / "config.json").write_text(said.replace("DPRQuestionEncoder", "DPRReader"), encoding="utf-8")
    with pytest.raises(HardnegError, match="is no encoder"):
        initial_encoder(settings(reader), 0, 0, 0, str(reader), 1)


def test_backbones_that_say_different_things_are_refused_where_a_setting_is_open(tmp_path: Path) -> None:
    question = checkpoint(tmp_path / "question", "question", 1)
    bert = checkpoint(tmp_path / "bert", "ctx", 2)
    said = (bert / "config.json").read_text(encoding="utf-8")
    (bert / "config.json").write_text(said.replace('"dpr"', '"bert"'), encoding="utf-8")
    given = {"backbone": str(question), "passage_backbone": str(bert), "untied": True}
    with pytest.raises(HardnegError, match=r"encoder\.pooling\n.*cls for queries, mean for passages"):
        resolved_sides(Settings(**given))
    assert resolved_sides(Settings(**given, pooling="cls")).encoder.pooling == "cls"


def test_backbones_with_two_tokenizers_are_refused(made: Stages, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other", "ctx", 3)
    pieces = {piece: number for number, piece in enumerate(reversed(PIECES))}
    BertTokenizer(vocab=pieces, do_lower_case=True).save_pretrained(other)
    config = {**made.config, "encoder": {**made.config["encoder"], "passage_backbone": str(other)}}
    config |= {"systems": {"plain": {"preset": "pretrained"}}, "export": []}
    stages = Stages(made.folder, config)
    stage = stages.stage("dual_encoder", "pretrained")
    for parent in stage.parents.values():
        stages.make(parent)
    (command,) = stages.commands(stage)
    said = stages.call(command)
    assert said.status == 1 and "number tokens differently" in said.err
