"""Packed texts in training on a CPU: vectors, gradients and dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from backbones import backbone_of
from torch import nn

from hardneg.model import attended, packed, products
from hardneg.model.attended import Attended
from hardneg.model.dropout import Dropout, DropoutOfTexts, drawn, kept
from hardneg.model.encoder import Encoder
from hardneg.model.packed import FAMILIES
from hardneg.model.rows import DropoutOfAll, Rows

LENGTHS = (7, 7, 7, 0, 1, 30, 12, 12)
WITHOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0, "dropout": 0.0}
SETTINGS: dict[str, Any] = {"pooling": "mean", "normalize": True, "projection": None, "temperature": 0.05}


@pytest.fixture(autouse=True)
def of_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LEAST_WIDTH", 0)


def encoder_of(family: str, **more: Any) -> Encoder:
    return Encoder(backbone_of(family, **more), SETTINGS).train()


def texts(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 90, mask.shape) * mask
    return torch.from_numpy(ids), torch.from_numpy(mask)


@contextlib.contextmanager
def forward_passes(encoder: Encoder) -> Iterator[list[torch.Size]]:
    """Shapes of what the backbone reads."""
    shapes: list[torch.Size] = []
    with encoder.backbone.register_forward_pre_hook(
        lambda _, __, named: shapes.append(named["input_ids"].shape), with_kwargs=True
    ):
        yield shapes


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_packed_texts_have_the_vectors_and_gradients_of_padded_ones(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(attended, "TOGETHER", (2, 1))
    encoder = encoder_of(family, **WITHOUT)
    # A padded text without a token has attention to its padding, so none is here.
    ids, mask = texts(tuple(length for length in LENGTHS if length))
    towards = torch.randn(len(ids), 32, generator=torch.Generator().manual_seed(1))
    found = []
    for context in (contextlib.nullcontext(), Dropout()):
        encoder.zero_grad()
        with forward_passes(encoder) as shapes, context:
            vectors = encoder(ids, mask)
        assert (shapes[0][0] == 1) == isinstance(context, Dropout)
        (vectors * towards).sum().backward()
        found.append({name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None})
        found[-1]["vectors"] = vectors.detach()
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("window", [False, True])
def test_attention_and_its_gradients_are_those_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, batched: bool, p: float, window: bool
) -> None:
    """In float64, text by text and head by head."""
    if batched and not products.batches_by_onednn():
        pytest.skip("oneDNN does not compute batches of float32 products on this processor")
    monkeypatch.setattr(attended, "batches_by_onednn", lambda: batched)
    monkeypatch.setattr(attended, "TOGETHER", (2, 1))
    rng = torch.Generator().manual_seed(0)
    alike, heads, width = ((3, 7), (1, 0), (1, 1), (1, 30), (2, 12)), 4, 8
    tokens = sum(LENGTHS)
    given = [torch.randn(tokens + 5, heads, width, generator=rng).requires_grad_() for _ in range(3)]
    towards = torch.randn(tokens + 5, heads, width, generator=rng)

    def numbers(text: int, shape: Any) -> torch.Tensor:
        return drawn((5, text), shape)

    def seen(length: int) -> torch.Tensor | None:
        return torch.ones(length, length, dtype=torch.bool).tril().triu(-3) if window else None

    made = Attended.apply(*given, alike, 0.3, seen, numbers if p else None, p)  # type: ignore[no-untyped-call]
    torch.autograd.backward((made * towards).sum())
    same = [each.detach().double().requires_grad_() for each in given]
    first, parts = 0, []
    for text, length in enumerate(LENGTHS):
        query, key, value = (each[first : first + length].transpose(0, 1) for each in same)
        scores = query @ key.transpose(1, 2) * 0.3
        if window:
            ahead = torch.arange(length) - torch.arange(length)[:, None]
            scores = scores.masked_fill((ahead > 0) | (ahead < -3), -torch.inf)
        factor = kept(numbers(text, (heads, length, length)), p).double() / (1 - p)
        parts.append((scores.softmax(-1) * factor @ value).transpose(0, 1))
        first += length
    expected = torch.cat([*parts, torch.zeros(5, heads, width)])
    torch.autograd.backward((expected * towards.double()).sum())
    torch.testing.assert_close(made, expected.float(), rtol=1e-4, atol=1e-5)
    for found, true in zip(given, same, strict=True):
        assert found.grad is not None and true.grad is not None
        torch.testing.assert_close(found.grad, true.grad.float(), rtol=1e-4, atol=1e-4)


def test_the_dropout_of_a_text_does_not_depend_on_the_texts_beside_it() -> None:
    """Of a text's hidden numbers and attention weights, in a pass over all and in a pass over some rows."""
    lengths, drop = [3, 5, 2], nn.Dropout(0.4)

    def both(first: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(2)
        tokens = sum(lengths[first:end]) + 4
        with DropoutOfAll(Rows(first, end, 3)), DropoutOfTexts(lengths[first:end], tokens) as inside:
            return drop(torch.ones(1, tokens, 6)), inside.of_text()(end - 1 - first, (4, 5))

    every, weights = both(0, 3)
    some, same = both(1, 3)
    assert torch.equal(some[0, :7], every[0, 3:10]) and torch.equal(same, weights)
    assert not torch.equal(every[0, :2], every[0, 8:10])
    assert sorted(set(every[0, :10].flatten().tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_rows_have_the_vectors_of_their_share(family: str) -> None:
    encoder = encoder_of(family, **dict.fromkeys(WITHOUT, 0.2))
    ids, mask = texts(LENGTHS)
    torch.manual_seed(3)
    with Dropout():
        every = encoder(ids, mask)
    for rows in (Rows(0, 3, 8), Rows(3, 8, 8)):
        torch.manual_seed(3)
        with DropoutOfAll(rows):
            some = encoder(ids[rows.first : rows.end], mask[rows.first : rows.end])
        torch.testing.assert_close(some, every[rows.first : rows.end], rtol=1e-5, atol=1e-6)
    torch.manual_seed(4)
    with Dropout():
        assert not torch.allclose(encoder(ids, mask), every, atol=1e-2)


def test_texts_without_a_token_have_vectors_of_zeros() -> None:
    encoder = encoder_of("bert")
    with Dropout():
        vectors = encoder(*(torch.zeros(2, 3, dtype=torch.int64) for _ in range(2)))
    assert vectors.shape == (2, 32) and not vectors.any()
    vectors.sum().backward()


def test_what_is_computed_again_has_the_same_gradient() -> None:
    found = []
    for again in (False, True):
        encoder = encoder_of("bert")
        if again:
            encoder.checkpoint_gradients()
        torch.manual_seed(3)
        with forward_passes(encoder) as shapes, Dropout():
            vectors = encoder(*texts(LENGTHS))
        assert shapes[0][0] == 1
        vectors.sum(dim=1).square().sum().backward()
        found.append(torch.cat([weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None]))
    assert torch.equal(*found)


def test_outside_training_and_in_narrow_encoders_texts_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of("bert")
    with forward_passes(encoder) as shapes:
        encoder(*texts(LENGTHS))
        with Dropout():
            encoder.eval()(*texts(LENGTHS))
            encoder.train()(*texts(LENGTHS))
            monkeypatch.setattr(packed, "LEAST_WIDTH", 33)
            encoder(*texts(LENGTHS))
            monkeypatch.setattr(packed, "LEAST_WIDTH", 0)
            encoder.bfloat16()(*texts(LENGTHS))
    assert [shape[0] for shape in shapes] == [8, 8, 1, 8, 8]
