"""The encoder: pooling, head, length 1, saving, and texts encoded in parts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made import PASSAGES, QUERIES, RUNTIME, TRAIN, Small, small
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.model.encoder import (
    TOGETHER_ON_A_GPU,
    Encoder,
    encode_rows,
    goes_together,
    initial_encoder,
    texts_at_once,
)
from hardneg.text.tokens import TokenStore
from hardneg.training import scorers
from hardneg.training.draws import Draws
from hardneg.training.scorers import BothEncoders

CPU = torch.device("cpu")


class Lookup(nn.Module):
    """A backbone whose hidden states are rows of a table, whatever the mask says."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=6)
        self.table = nn.Embedding(10, 6)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


def lookup(**settings: Any) -> tuple[Encoder, torch.Tensor]:
    plain = {"pooling": "mean", "projection": None, "normalize": False, "temperature": 1.0}
    torch.manual_seed(0)
    backbone = Lookup()
    return Encoder(backbone, {**plain, **settings}), backbone.table.weight


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


IDS, MASK = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_mean_pooling_leaves_padding_out() -> None:
    encoder, table = lookup()
    expected = torch.stack((table[[1, 2, 3]].mean(0), table[[4, 5]].mean(0)))
    torch.testing.assert_close(encoder(IDS, MASK), expected)


def test_cls_pooling() -> None:
    encoder, table = lookup(pooling="cls")
    assert torch.equal(encoder(IDS, MASK), table[[1, 4]])


def test_projection_and_layer_norm() -> None:
    encoder, table = lookup(pooling="cls", projection=4)
    linear, norm = encoder.head.children()
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.LayerNorm)
    projected = table[[1, 4]] @ linear.weight.T + linear.bias
    centred = projected - projected.mean(1, keepdim=True)
    torch.testing.assert_close(encoder(IDS, MASK), centred / (centred.pow(2).mean(1, keepdim=True) + norm.eps).sqrt())
    assert encoder.dim == 4


def test_length_one() -> None:
    plain, _ = lookup()
    scaled, _ = lookup(normalize=True)
    vectors = plain(IDS, MASK)
    torch.testing.assert_close(scaled(IDS, MASK), vectors / vectors.pow(2).sum(1, keepdim=True).sqrt())


def test_padding_changes_no_vector(made: Small) -> None:
    encoder, store = made.encoder().eval(), TokenStore(made.tokens, "passages")
    short = int(np.argmin(store.lengths(np.arange(len(store)))))
    alone, padded = (
        encoder(*(torch.from_numpy(part) for part in store.batch(positions)))[0] for positions in ([short], [short, 4])
    )
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("projection", [None, 6])
def test_a_saved_encoder_is_the_same(made: Small, tmp_path: Path, projection: int | None) -> None:
    encoder = made.encoder(seed=4, projection=projection)
    model = made.model(tmp_path / "model", encoder)
    again = Encoder.load(model)
    before, after = encoder.state_dict(), again.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert (again.settings, again.dim, again.temperature) == (encoder.settings, encoder.dim, encoder.temperature)
    made.model(tmp_path / "again", again)
    names = list(model.manifest["files"])
    assert all((tmp_path / "again" / name).read_bytes() == model.path(name).read_bytes() for name in names)
    assert {Path(name).suffix for name in names} == {".json", ".safetensors"}
    ids, mask = (torch.from_numpy(part) for part in TokenStore(made.tokens, "passages").batch(range(8)))
    assert torch.equal(encoder.eval()(ids, mask), again.eval()(ids, mask))


def test_the_seed_draws_the_weights(made: Small) -> None:
    first, same, other = (made.encoder(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_texts_in_parts_are_encoded_in_order_and_with_the_whole_gradient(made: Small) -> None:
    encoder, store = made.encoder().eval(), TokenStore(made.tokens, "passages")
    positions = np.array([4, 20, 0, 9, 4, 33, 1, 14, 2])  # long, empty, short, one of them twice
    target = torch.randn(len(positions), encoder.dim, generator=torch.Generator().manual_seed(0))

    def gradients(vectors: torch.Tensor) -> list[torch.Tensor | None]:
        return list(torch.autograd.grad((vectors * target).sum(), list(encoder.parameters()), allow_unused=True))

    parts = encode_rows(encoder, store, positions, 4, CPU)
    whole = encoder(*(torch.from_numpy(part) for part in store.batch(positions)))
    alone = torch.cat([encode_rows(encoder, store, positions[n : n + 1], 1, CPU) for n in range(len(positions))])
    torch.testing.assert_close(parts, alone, rtol=0, atol=1e-5)
    for ours, expected in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_texts_of_two_stores_are_encoded_together(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step has the same vectors, scores and gradient, whether one forward pass reads its texts or two."""
    stage = made.training(tmp_path / "run", train=TRAIN)
    judged = Judgements.read(made.collection.path("qrels.train.parquet"), QUERIES, PASSAGES)
    scorer, meeting = BothEncoders(stage, RUNTIME, CPU), Draws.of(stage.settings, stage.parents, judged).at(0)
    scorer.module.eval()
    seen: list[list[torch.Tensor]] = []
    for together in (False, True):
        monkeypatch.setattr(scorers, "goes_together", lambda *_, together=together: together)
        query, scores = scorer.both(meeting)
        assert scorer.encoded is not None
        gradient = torch.autograd.grad(scores.square().sum(), list(scorer.module.parameters()))
        seen.append([query, scores, scorer.encoded, *gradient])
    assert len(seen[0][1]) == TRAIN["batch_size"]
    for apart, one in zip(*seen, strict=True):
        torch.testing.assert_close(one, apart, rtol=1e-4, atol=1e-4)


def test_only_few_texts_go_together_and_on_a_gpu(made: Small) -> None:
    stores = [TokenStore(made.tokens, name) for name in ("queries.train", "passages")]
    gpu, few = torch.device("cuda:0"), [(store, np.arange(10)) for store in stores]
    assert goes_together(few, 20, gpu) and not goes_together(few, 19, gpu) and not goes_together(few, 20, CPU)
    longest = max(int(store.lengths(positions).max()) for store, positions in few)
    enough = TOGETHER_ON_A_GPU // longest // 2
    for count, expected in ((enough, True), (enough + 1, False)):
        many = [(store, np.resize(np.arange(10), count)) for store in stores]
        assert goes_together(many, 1 << 20, gpu) == expected


# --- pretrained weights ---

SIZE: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
LIKE_STAR: dict[str, Any] = {
    "backbone": "local",
    "pooling": "cls",
    "projection": 6,
    "normalize": False,
    "temperature": 1.0,
    "head_from": {"linear": "embeddingHead", "norm": "norm"},
}


def checkpoint(folder: Path, shards: int = 1) -> dict[str, torch.Tensor]:
    """A whole checkpoint as STAR and ADORE leave it: roberta.*, embeddingHead.* and norm.*, no pooler."""
    torch.manual_seed(11)
    config = RobertaConfig(**SIZE, pad_token_id=1, architectures=["RobertaDot_InBatch"])
    weights = {f"roberta.{k}": v for k, v in RobertaModel(config, add_pooling_layer=False).state_dict().items()}
    for name, shape in {"embeddingHead.weight": (6, 8), "embeddingHead.bias": (6,), "norm.weight": (6,)}.items():
        weights[name] = torch.randn(shape)
    weights["norm.bias"] = torch.randn(6)
    folder.mkdir()
    config.save_pretrained(folder)
    names = sorted(weights)
    for number in range(shards):
        part = {name: weights[name].contiguous() for name in names[number::shards]}
        name = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / name, {"format": "pt"})
    if shards > 1:
        index = {name: f"model-{n % shards + 1:05d}-of-{shards:05d}.safetensors" for n, name in enumerate(names)}
        text = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return weights


def pretrained(folder: Path, **changes: Any) -> Encoder:
    return initial_encoder({**LIKE_STAR, **changes}, 30, 1, 16, str(folder), seed=3)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_whole_checkpoint_is_a_starting_point(tmp_path: Path, shards: int) -> None:
    """Every weight comes from its files, whatever the seed; the vector is LayerNorm(Linear(first hidden state))."""
    weights = checkpoint(tmp_path / "star", shards)
    encoder = pretrained(tmp_path / "star").eval()
    state = encoder.state_dict()
    ours = {name.replace("roberta.", "backbone."): tensor for name, tensor in weights.items()}
    for kind in ("weight", "bias"):
        ours[f"head.0.{kind}"] = ours.pop(f"embeddingHead.{kind}")
        ours[f"head.1.{kind}"] = ours.pop(f"norm.{kind}")
    assert state.keys() == ours.keys() and all(torch.equal(state[name], ours[name]) for name in ours)

    config = RobertaConfig(**SIZE, pad_token_id=1)
    plain = RobertaModel(config, add_pooling_layer=False).eval()
    plain.load_state_dict({k.removeprefix("roberta."): v for k, v in weights.items() if k.startswith("roberta.")})
    ids, mask = torch.tensor([[0, 7, 9, 2], [0, 5, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    first = plain(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    projected = first @ weights["embeddingHead.weight"].T + weights["embeddingHead.bias"]
    centred = projected - projected.mean(1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(ids, mask), scaled * weights["norm.weight"] + weights["norm.bias"])


def test_without_head_from_the_head_is_new(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "star")
    linear = pretrained(tmp_path / "star", head_from=None).state_dict()["head.0.weight"]
    assert linear.shape == weights["embeddingHead.weight"].shape
    assert not torch.equal(linear, weights["embeddingHead.weight"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"head_from": {"linear": "dense", "norm": "norm"}},
            ["norm.weight': [6]", "outside the encoder", "dense.bias"],
        ),
        ({"projection": 5}, ["embeddingHead.weight': [6, 8]", "embeddingHead.weight': [5, 8]"]),
        ({"projection": None}, ["without a projection", "encoder.head_from"]),
    ],
)
def test_a_head_that_is_not_there_is_told(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    checkpoint(tmp_path / "star")
    with pytest.raises(HardnegError) as fault:
        pretrained(tmp_path / "star", **changes)
    assert all(word in str(fault.value) for word in words)


def test_weights_that_would_stay_random_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "star"
    weights = checkpoint(folder)
    lost = [name for name in weights if ".layer.1.attention.self.query." in name]
    kept = {name: tensor.contiguous() for name, tensor in weights.items() if name not in lost}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(HardnegError) as fault:
        pretrained(folder)
    told = str(fault.value)
    assert "2 missing: encoder.layer.1.attention.self.query.bias" in told and "at random" in told


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "star"
    weights = checkpoint(folder)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(
        HardnegError, match=r"cannot be loaded\.[\s\S]*pickled ones .* are not read[\s\S]*save_pretrained"
    ):
        pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertModel, BertConfig(**SIZE)),
        (DistilBertModel, DistilBertConfig(vocab_size=30, dim=8, n_layers=2, n_heads=2, hidden_dim=8)),
    ],
)
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_every_weight_of_a_backbone_trains(
    tmp_path: Path, kind: Any, config: Any, gradient_checkpointing: bool
) -> None:
    """No pooler is left, in memory or in the files; a family that never had one is loaded too."""
    kind(config).save_pretrained(tmp_path / "backbone")
    encoder = pretrained(tmp_path / "backbone", head_from=None, projection=None)
    if gradient_checkpointing:
        encoder.checkpoint_gradients()
    encoder.train()
    # not the sum of all of it: a LayerNorm's outputs may sum to the same whatever goes in
    (encoder(IDS, MASK) * torch.arange(8)).sum().backward()
    unused = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert unused == [] and not [name for name in encoder.state_dict() if "pooler" in name]
    encoder.save(tmp_path / "saved")
    names = list(load_file(tmp_path / "saved/encoder/backbone/model.safetensors"))
    assert names and not [name for name in names if "pooler" in name]


def test_a_backbone_without_gradient_checkpointing_is_told() -> None:
    encoder = Encoder(BertModel(BertConfig(**SIZE)), {**LIKE_STAR, "projection": None})
    encoder.backbone.supports_gradient_checkpointing = False  # type: ignore[assignment]
    with pytest.raises(
        HardnegError, match=r"does not support gradient checkpointing\.\n.*train.gradient_checkpointing"
    ):
        encoder.checkpoint_gradients()


@pytest.mark.parametrize(("longest", "rows"), [(16, 64), (64, 64), (65, 63), (256, 16), (300, 13), (512, 8), (8192, 8)])
def test_a_pass_on_a_cpu_has_at_most_64_texts_and_4096_tokens(longest: int, rows: int) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert texts_at_once(None, cpu, longest) == rows
    assert texts_at_once(None, gpu, longest) == 1024
    assert texts_at_once(5, cpu, longest) == texts_at_once(5, gpu, longest) == 5
