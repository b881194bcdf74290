"""The encoder: pooling, head, length 1, saving, and texts encoded in parts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made import Small, small
from torch import nn

from hardneg.encoder import Encoder, encode_rows
from hardneg.tokens import TokenStore

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
