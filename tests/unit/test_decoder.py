"""Decoder backbones: pooling, padding on either side, an end token, adapters, and what is exported of them."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import RUNTIME, TRAIN, killed_at, seal, stage_of, texts, training_settings, write_collection
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2Config

from hardneg.config import Encoder as Settings
from hardneg.data.template import Reading
from hardneg.errors import HardnegError
from hardneg.export.encoders import write_encoder
from hardneg.model.embedding import rounded
from hardneg.model.encoder import Encoder, encode_rows, initial_encoder
from hardneg.model.pooling import pool
from hardneg.planning.backbone import resolved
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore, make_tokenizer, tokenize
from hardneg.training.train import train

CPU = torch.device("cpu")
LENGTH = 24
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None}
NEEDS_PEFT = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed: pip install '.[lora]'"
)
ADAPTED = {"pooling": "weighted_mean", "normalize": True, "lora": LORA}
POOLINGS = ["cls", "mean", "last_token", "weighted_mean"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature Qwen2 with random weights, and a byte-level tokenizer that adds no token to a text."""
    folder = tmp_path_factory.mktemp("qwen")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    pieces.train_from_iterator(texts(40, [5, 20], 3), trainer)
    PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = AutoModel.from_config(Qwen2Config(vocab_size=320, max_position_embeddings=64, **sizes, **heads))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def settings_of(**given: Any) -> dict[str, Any]:
    encoder, said, _ = resolved(Settings(append_eos=True, temperature=0.05, **given))
    settings = encoder.model_dump(mode="json", exclude={"backbone"})
    return {**settings, "backbone": "local", "modules": list(said.modules)}


def tokens_of(folder: Path, backbone: Path, settings: dict[str, Any]) -> tuple[Artifact, Artifact, list[str]]:
    passages = [text.title() for text in texts(40, [1, 3, 8, 40, 0], 1)]
    collection = write_collection(folder / "collection", passages, texts(12, [2, 4], 2))
    reading = {name: settings[name] for name in ("passage_template", "query_template", "lower_case", "characters")}
    own = {"backbone": "local", "trust_remote_code": False, "prefix_space": None, "contract": None, "append_eos": True}
    stage = stage_of(folder / "tokenizer", {**own, **reading})
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, None, str(backbone))
    tokenizer = seal(stage, names)
    stage = stage_of(folder / "tokens", {"query_length": LENGTH, "passage_length": LENGTH, **reading})
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    return tokenizer, seal(stage, names), passages


def sealed(folder: Path, encoder: Encoder) -> Artifact:
    stage = stage_of(folder, {})
    stage.facts = encoder.facts
    return seal(stage, encoder.save(stage.folder))


@torch.inference_mode()
def vectors(encoder: Encoder, store: TokenStore, rows: int = 5) -> np.ndarray:
    return encode_rows(encoder.eval(), store, np.arange(len(store)), rows, CPU).numpy()


@pytest.mark.parametrize("mode", POOLINGS)
def test_poolings_against_their_definition(mode: str) -> None:
    hidden = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    for mask in (torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])):
        for row, own in enumerate(hidden[n][mask[n] == 1] for n in range(2)):
            weights = torch.arange(1, len(own) + 1).float()
            expected = {
                "cls": own[0],
                "mean": own.mean(0),
                "last_token": own[-1],
                "weighted_mean": (own * weights[:, None]).sum(0) / weights.sum(),
            }
            torch.testing.assert_close(pool(hidden, mask, mode)[row], expected[mode])


@pytest.mark.parametrize("mode", POOLINGS)
def test_padding_on_either_side_changes_no_vector(backbone: Path, tmp_path: Path, mode: str) -> None:
    settings = settings_of(pooling=mode)
    tokenizer, tokens, _ = tokens_of(tmp_path, backbone, settings)
    assert tokenizer.facts["suffix"] == [tokenizer.facts["pad"]] and tokenizer.facts["prefix"] == []
    encoder = initial_encoder(settings, 0, 0, 0, str(backbone), 1).eval()
    store = TokenStore(tokens, "passages")
    ids, mask = (torch.from_numpy(part) for part in store.batch(range(40)))
    lengths = mask.sum(1)
    left_ids, left_mask = ids.clone(), mask.clone()
    for row, length in enumerate(lengths):
        left_ids[row], left_mask[row] = ids[row].roll(-int(length)), mask[row].roll(-int(length))
    with torch.inference_mode():
        alone = torch.cat(
            [encoder(ids[n : n + 1, :length], mask[n : n + 1, :length]) for n, length in enumerate(lengths)]
        )
        torch.testing.assert_close(encoder(ids, mask), alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder(left_ids, left_mask), alone, rtol=0, atol=1e-5)
    last = ids[torch.arange(40), lengths - 1]
    assert (last == tokenizer.facts["suffix"][0]).all() and int(lengths.max()) == LENGTH


@pytest.mark.parametrize(
    "given", [{}, pytest.param({"pooling": "weighted_mean", "normalize": True, "lora": LORA}, marks=NEEDS_PEFT)]
)
def test_what_is_exported_gives_the_same_vectors(backbone: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    settings = settings_of(query_template="query: {text}", passage_template="passage: {title} {text}", **given)
    assert settings["pooling"] == given.get("pooling", "last_token")
    tokenizer, tokens, passages = tokens_of(tmp_path, backbone, settings)
    encoder = initial_encoder(settings, 0, 0, 0, str(backbone), 1)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model = sealed(tmp_path / "model", encoder)
    store, reading = TokenStore(tokens, "passages"), Reading(**tokens.facts["reading"])
    ours = vectors(Encoder.load(model), store)
    write_encoder(tmp_path / "out", model, tokenizer, LENGTH, reading, "document")
    (tmp_path / "out/README.md").write_text("made\n")
    peer = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(peer.encode(passages), ours, rtol=0, atol=1e-5)
    asked = peer.encode_query(texts(12, [2, 4], 2))
    np.testing.assert_allclose(
        asked, vectors(Encoder.load(model), TokenStore(tokens, "queries.train")), rtol=0, atol=1e-5
    )
    # Read back as a backbone, it says of itself what it was.
    again, said, notes = resolved(Settings(backbone=str(tmp_path / "out")))
    for key in ("pooling", "normalize", "query_template", "passage_template"):
        assert getattr(again, key) == settings[key], key
    assert again.passage_length == LENGTH and said.modules == () and notes == []
    loaded = initial_encoder({**settings, "lora": None}, 0, 0, 0, str(tmp_path / "out"), 1)
    np.testing.assert_allclose(vectors(loaded, store), ours, rtol=0, atol=1e-5)


def test_rounded_weights_keep_far_positions(backbone: Path) -> None:
    """Rotary frequencies in float16 would turn position 900 by a radian."""
    config = Qwen2Config.from_pretrained(backbone, hidden_size=64, max_position_embeddings=2048)
    torch.manual_seed(4)
    encoder = Encoder(AutoModel.from_config(config), settings_of(backbone=str(backbone), pooling="last_token")).eval()
    kept = {name: buffer.clone() for name, buffer in encoder.backbone.named_buffers()}
    ids = torch.randint(0, 320, (2, 900))
    with torch.inference_mode():
        exact = encoder(ids, torch.ones_like(ids))
        rounded(encoder.backbone)
        near = encoder(ids, torch.ones_like(ids))
    assert kept and all(torch.equal(buffer, kept[name]) for name, buffer in encoder.backbone.named_buffers())
    assert {weight.dtype for weight in encoder.backbone.parameters()} == {torch.float16}
    assert near.dtype == torch.float32
    np.testing.assert_allclose(near, exact, atol=0.02 * float(exact.abs().max()))


def test_a_projection_is_read_back_as_layers(backbone: Path, tmp_path: Path) -> None:
    settings = settings_of(projection=6)
    tokenizer, tokens, _ = tokens_of(tmp_path, backbone, settings)
    model = sealed(tmp_path / "model", initial_encoder(settings, 0, 0, 0, str(backbone), 1))
    store = TokenStore(tokens, "passages")
    ours = vectors(Encoder.load(model), store)
    out = tmp_path / "out"
    write_encoder(out, model, tokenizer, LENGTH, Reading(**tokens.facts["reading"]), "document")
    again = settings_of(backbone=str(out))
    assert [layer["type"] for layer in again["modules"]] == ["Dense", "LayerNorm"]
    loaded = initial_encoder(again, 0, 0, 0, str(out), 1)
    np.testing.assert_allclose(vectors(loaded, store), ours, rtol=0, atol=1e-5)
    # And once more, through an artifact and an export of its own.
    second = sealed(tmp_path / "second", loaded)
    np.testing.assert_allclose(vectors(Encoder.load(second), store), ours, rtol=0, atol=1e-5)
    write_encoder(tmp_path / "out2", second, tokenizer, LENGTH, Reading(**tokens.facts["reading"]), "document")
    assert settings_of(backbone=str(tmp_path / "out2"))["modules"] == again["modules"]


@NEEDS_PEFT
def test_adapters_are_kept_beside_a_reference_to_their_backbone(backbone: Path, tmp_path: Path) -> None:
    settings = settings_of(lora=LORA, weights="bfloat16")
    start = sealed(tmp_path / "start", initial_encoder(settings, 0, 0, 0, str(backbone), 1))
    encoder = Encoder.load(start)
    trained = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    frozen = copy.deepcopy(encoder.state_dict())
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        encoder(torch.tensor([[4, 5, 6]]), torch.ones(1, 3, dtype=torch.int64)).sum().backward()
        optimizer.step()
    kept = sealed(tmp_path / "kept", encoder)
    assert sorted(Path(name).name for name in kept.manifest["files"]) == [
        "adapters.safetensors",
        "backbone.json",
        "settings.json",
    ]
    assert (kept.folder / "encoder/backbone.json").read_text().count("../../start/encoder/backbone") == 1
    again = Encoder.load(kept).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in encoder.state_dict().items())
    changed = {name for name, tensor in frozen.items() if not torch.equal(tensor, again[name])}
    assert changed and all("lora_" in name for name in changed)
    (start.folder / "encoder/backbone").rename(tmp_path / "moved")
    with pytest.raises(HardnegError, match="backbone that these adapters belong to is missing"):
        Encoder.load(kept)
    (tmp_path / "moved").rename(start.folder / "encoder/backbone")
    # What starts from it refers to the same backbone.
    further = sealed(tmp_path / "further", Encoder.load(kept))
    assert all((further.folder / name).read_bytes() == kept.path(name).read_bytes() for name in kept.manifest["files"])


@NEEDS_PEFT
def test_adapters_train_and_a_resumed_run_has_the_same_bytes(backbone: Path, tmp_path: Path) -> None:
    settings = settings_of(lora={**LORA, "dropout": 0.1}, normalize=True)
    tokenizer, tokens, _ = tokens_of(tmp_path, backbone, settings)
    start = sealed(tmp_path / "start", initial_encoder(settings, 0, 0, 0, str(backbone), 1))
    collection = Artifact.open(tmp_path / "collection" / "manifest.json")
    parents = {"collection": collection, "tokenizer": tokenizer, "tokens": tokens, "init": start}

    def trained(name: str, **options: Any) -> dict[str, bytes]:
        given = training_settings(batch="in_batch", source="random", train={**TRAIN, "lr": 0.05, **options})
        stage = stage_of(tmp_path / name, {"encoder": settings, **given}, parents)
        if name == "killed":
            with killed_at(4):
                train(stage, RUNTIME, [CPU])
        return {file: (stage.folder / file).read_bytes() for file in train(stage, RUNTIME, [CPU])}

    whole = trained("whole")
    assert "encoder/adapters.safetensors" in whole and not [name for name in whole if "backbone/" in name]
    assert whole["encoder/adapters.safetensors"] != (start.folder / "encoder/adapters.safetensors").read_bytes()
    assert trained("killed") == whole
    assert trained("checkpointed", gradient_checkpointing=True) == whole
