"""Packed texts have the vectors of padded ones, in every family of backbones that reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backbones import SIZE, backbone_of
from transformers import AutoConfig, AutoModel

from hardneg.model import attended, packed, products
from hardneg.model.embedding import encoded
from hardneg.model.encoder import Encoder
from hardneg.model.joined import join_in
from hardneg.model.packed import FAMILIES, Packed, hidden_states, packs

LENGTHS = ((7, 1, 30, 12, 30, 3), (9, 9, 9))


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
@pytest.mark.parametrize(("lengths", "joined", "multiple"), [(LENGTHS[0], False, 128), (LENGTHS[1], True, 1)])
@pytest.mark.parametrize("batched", [False, True])
def test_packed_texts_have_the_vectors_of_padded_ones(
    monkeypatch: pytest.MonkeyPatch, family: str, lengths: tuple[int, ...], joined: bool, multiple: int, batched: bool
) -> None:
    if batched and not products.batches_by_onednn():
        pytest.skip("oneDNN does not compute batches of float32 products on this processor")
    monkeypatch.setattr(packed, "batches_by_onednn", lambda: batched)
    monkeypatch.setattr(attended, "TOGETHER", (2, 1))
    monkeypatch.setattr(attended, "CACHED", 2 * 4 * 9**2)  # texts of up to 9 tokens two at a time
    backbone = backbone_of(family).eval()
    encoder = Encoder(backbone, {"pooling": "mean", "normalize": True, "projection": None, "temperature": 0.05})
    assert packs(backbone)
    mask = (np.arange(32) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 90, mask.shape) * mask
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(ids), torch.from_numpy(mask))
        before = len(list(backbone.parameters()))
        if joined:
            join_in(backbone)
        assert len(list(backbone.parameters())) < before or not joined or family == "modernbert"  # which has one
        found = encoder.packed(Packed.of(ids, mask, multiple))
        others = encoder.packed(Packed.of(np.where(np.arange(32) == 4, 4, ids) * mask, mask, multiple))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6)
    # Another token in a text's fifth place changes that text and no other.
    changed = (others - found).abs().amax(1) > 1e-4
    assert changed.tolist() == [length > 4 for length in lengths]


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (3, 3), (3, 0)])
@pytest.mark.parametrize("shared", [False, True])
def test_a_gpu_is_asked_for_the_same_attention(
    monkeypatch: pytest.MonkeyPatch, window: tuple[int, int], shared: bool
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_by_one)
    torch.manual_seed(0)
    texts = Packed.of(np.ones((4, 9), np.int64), (np.arange(9) < np.array([[5], [5], [9], [2]])).astype(np.int64))
    query, key, value = (torch.randn(21, heads, 8) for heads in (4, 2 if shared else 4, 2 if shared else 4))
    found = packed._on_gpu(query, key, value, texts.bounds, 9, window, 0.3)
    assert texts.alike == ((2, 5), (1, 9), (1, 2))
    parts = []
    for n, part in ((2, slice(0, 10)), (1, slice(10, 19)), (1, slice(19, 21))):
        same = [each[part].reshape(n, -1, *each.shape[1:]) for each in (query, key, value)]
        parts.append(packed._on_cpu(same[0], same[1], same[2], window, 0.3).flatten(0, 1))
    expected = torch.cat(parts)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("longest", [5, 17, 40])
def test_what_is_read_beside_a_text_changes_no_bit_of_it(longest: int) -> None:
    """40 texts together, and each alone: eight of them are read at once there, and so short that torch may choose."""
    if not products.by_onednn():
        pytest.skip("MKL may add in another order where there are more rows")
    torch.manual_seed(0)
    backbone = AutoModel.from_config(AutoConfig.for_model("bert", **SIZE)).eval()
    mask = (np.arange(longest) < np.sort(np.arange(40) % 3 + longest - 2)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 90, mask.shape) * mask
    with torch.inference_mode():
        together = hidden_states(backbone, Packed.of(ids, mask, packed.TOKENS))
        for row in range(40):
            alone = hidden_states(backbone, Packed.of(ids[row : row + 1], mask[row : row + 1], packed.TOKENS))
            tokens = int(mask[row].sum())
            assert torch.equal(alone[0, :tokens], together[row, :tokens])


def test_the_attention_weights_of_a_long_text_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("all weights at once")

    monkeypatch.setattr(packed, "_by_products", refused)
    monkeypatch.setattr(packed, "batches_by_onednn", lambda: True)
    long = torch.randn(1, 700, 12, 4)
    assert packed._on_cpu(long, long, long, (-1, -1), None).shape == long.shape
    with pytest.raises(AssertionError, match="all weights at once"):
        packed._on_cpu(long[:, :500], long[:, :500], long[:, :500], (-1, -1), None)


def test_a_text_may_have_no_token() -> None:
    backbone = AutoModel.from_config(AutoConfig.for_model("bert", **SIZE)).eval()
    encoder = Encoder(backbone, {"pooling": "mean", "normalize": True, "projection": None, "temperature": 0.05})
    ids = np.array([[0, 0, 0], [5, 6, 7], [5, 6, 0]])
    with torch.inference_mode():
        found = [encoded(encoder, each, (each > 0).astype(np.int64), torch.device("cpu")) for each in (ids, ids[:1])]
    assert not found[0][0].any() and found[0][1:].any(1).all() and not found[1].any()


def test_padding_on_either_side_is_left_out() -> None:
    ids = np.array([[0, 0, 5, 6, 7], [8, 9, 0, 0, 0]])
    texts = Packed.of(ids, (ids > 0).astype(np.int64))
    assert texts.ids.tolist() == [[5, 6, 7, 8, 9]] and texts.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert texts.bounds.tolist() == [0, 3, 5] and texts.alike == ((1, 3), (1, 2))
    assert texts.places.tolist() == [[0, 0, 0, 1, 2], [3, 4, 0, 0, 0]]


def test_other_numbers_and_backbones_are_padded() -> None:
    backbone = AutoModel.from_config(AutoConfig.for_model("bert", **SIZE))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not packs(backbone)
    assert not packs(backbone.half())
    assert not packs(AutoModel.from_config(AutoConfig.for_model("mpnet", **SIZE)))


def test_batches_keep_all_bits_of_float32() -> None:
    """Also where torch lets oneDNN round to bf16: else they are not computed so."""
    if not products.batches_by_onednn():
        pytest.skip("oneDNN does not compute batches of float32 products on this processor")
    torch.manual_seed(0)
    left, right = torch.randn(6, 200, 64), torch.randn(6, 64, 150)
    with products.batches():
        found = torch.bmm(left, right)
    true = torch.bmm(left.double(), right.double())
    apart = [(each.double() - true).abs().max() for each in (found, torch.bmm(left, right))]
    assert apart[0] < 2 * apart[1]
    assert torch.backends.mkldnn.matmul.fp32_precision != "bf16"  # type: ignore[attr-defined]
