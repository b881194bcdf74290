"""Packed texts have the vectors of padded ones, in every family of backbones that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from hardneg.model.encoder import Encoder
from hardneg.model.joined import join_in
from hardneg.model.packed import FAMILIES, Packed, packs

LENGTHS = ((7, 1, 30, 12, 30, 3), (9, 9, 9))
SIZE = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 48},
    "electra": {"embedding_size": 32},
    "eurobert": {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    "qwen2": {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
}


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    _: torch.Tensor,
    longest: int,
    __: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What torch's function does on a GPU: by its formula, text by text, head by head."""
    made = torch.empty(query.shape)
    assert longest == int(bounds.diff().max()) and enable_gqa == (key.shape[1] < query.shape[1])
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        places = torch.arange(end - first)
        ahead = places[None] - places[:, None]
        left, right = (len(places) if size < 0 else size for size in window_size)
        for head in range(query.shape[1]):
            of = head * key.shape[1] // query.shape[1]
            scores = query[first:end, head] @ key[first:end, of].T * scale
            seen = scores.masked_fill((ahead > right) | (-ahead > left), -torch.inf)
            made[first:end, head] = seen.softmax(-1) @ value[first:end, of]
    return made


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_packed_texts_have_the_vectors_of_padded_ones(
    monkeypatch: pytest.MonkeyPatch, family: str, lengths: tuple[int, ...], joined: bool
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_by_one)
    torch.manual_seed(0)
    backbone = AutoModel.from_config(AutoConfig.for_model(family, **SIZE | OWN.get(family, {}))).eval()
    for weight in backbone.parameters():  # so large that positions and attention matter
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    encoder = Encoder(backbone, {"pooling": "mean", "normalize": True, "projection": None, "temperature": 0.05})
    mask = (np.arange(32) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 90, mask.shape) * mask
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(ids), torch.from_numpy(mask))
        before = len(list(backbone.parameters()))
        if joined:
            join_in(backbone)
        assert len(list(backbone.parameters())) < before or not joined or family == "modernbert"  # which has one
        found = encoder.packed(Packed.of(ids, mask))
        others = encoder.packed(Packed.of(np.where(np.arange(32) == 4, 4, ids) * mask, mask))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6)
    # Another token in a text's fifth place changes that text and no other.
    changed = (others - found).abs().amax(1) > 1e-4
    assert changed.tolist() == [length > 4 for length in lengths]


def test_padding_on_either_side_is_left_out() -> None:
    ids = np.array([[0, 0, 5, 6, 7], [8, 9, 0, 0, 0]])
    texts = Packed.of(ids, (ids > 0).astype(np.int64))
    assert texts.ids.tolist() == [[5, 6, 7, 8, 9]] and texts.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert texts.bounds.tolist() == [0, 3, 5] and texts.longest == 3
    assert texts.places.tolist() == [[0, 0, 0, 1, 2], [3, 4, 0, 0, 0]]


def test_a_cpu_pads() -> None:
    backbone = AutoModel.from_config(AutoConfig.for_model("bert", **SIZE))
    assert not packs(backbone.half())
