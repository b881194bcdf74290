"""Products by either library: the numbers, the gradients, and what they do not depend on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from hardneg.model import products
from hardneg.model.products import Linear, LinearGelu, product, use_in

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture(params=["MKL", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "oneDNN" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("torch has no oneDNN here")
    monkeypatch.setattr(products, "by_onednn", lambda: request.param == "oneDNN")
    name: str = request.param
    return name


def layers(bias: bool = True) -> tuple[Linear, nn.Linear]:
    """The layer, and torch's own with the same weights in float64."""
    torch.manual_seed(0)
    own = Linear(48, 40, bias=bias)
    exact = nn.Linear(48, 40, bias=bias).double()
    exact.load_state_dict(own.state_dict())
    return own, exact


@pytest.mark.parametrize("shape", [(48,), (1, 48), (33, 48), (3, 7, 48), (0, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    own, exact = layers(bias)
    inputs = torch.randn(shape, requires_grad=True)
    precise = inputs.detach().double().requires_grad_()
    outputs, expected = own(inputs), exact(precise)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs.double(), expected, atol=1e-5, rtol=0)

    pulled = torch.randn(expected.shape)
    outputs.backward(pulled)
    expected.backward(pulled.double())
    assert inputs.grad is not None and precise.grad is not None
    torch.testing.assert_close(inputs.grad.double(), precise.grad, atol=1e-5, rtol=0)
    for one, other in zip(own.parameters(), exact.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, atol=3e-5, rtol=0)


def test_what_is_frozen_gets_no_gradient() -> None:
    own, _ = layers()
    own.weight.requires_grad_(False)
    inputs = torch.randn(5, 48)
    own(inputs).sum().backward()
    assert own.weight.grad is None
    assert own.bias.grad is not None
    torch.testing.assert_close(own.bias.grad, torch.full((40,), 5.0))


def test_gradients_of_many_parts_add_up() -> None:
    own, exact = layers()
    inputs = torch.randn(6, 48)
    for part in inputs.view(3, 2, 48):
        own(part).square().sum().backward()
    exact(inputs.double()).square().sum().backward()
    assert own.weight.grad is not None and exact.weight.grad is not None
    torch.testing.assert_close(own.weight.grad.double(), exact.weight.grad, atol=1e-4, rtol=0)


def test_mixed_precision_is_torch_s() -> None:
    own, exact = layers()
    inputs = torch.randn(9, 48)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = own(inputs)
        assert torch.equal(outputs, nn.functional.linear(inputs, own.weight, own.bias))
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.double(), exact(inputs.double()), atol=0.05, rtol=0)


def test_a_model_keeps_its_weights_and_their_names() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ModuleDict({"inner": nn.Linear(8, 4, bias=False)}), nn.LayerNorm(4))
    before = copy.deepcopy(model.state_dict())
    use_in(model)
    assert [type(module) for module in model.modules() if isinstance(module, nn.Linear)] == [Linear, Linear]
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("shape", [(48,), (33, 48), (3, 7, 48), (0, 48)])
@pytest.mark.parametrize("kept", [True, False], ids=["gradient kept", "no gradient"])
def test_a_layer_with_its_gelu_is_that_of_float64(shape: tuple[int, ...], kept: bool) -> None:
    own, exact = layers()
    own.__class__ = LinearGelu
    inputs = torch.randn(shape, requires_grad=True)
    precise = inputs.detach().double().requires_grad_()
    with torch.set_grad_enabled(kept):
        outputs, expected = own(inputs), nn.functional.gelu(exact(precise))
    torch.testing.assert_close(outputs.double(), expected, atol=1e-5, rtol=0)
    assert outputs.requires_grad is kept
    if kept:
        pulled = torch.randn(expected.shape)
        torch.autograd.backward([outputs, expected], [pulled, pulled.double()])
        assert inputs.grad is not None and precise.grad is not None
        torch.testing.assert_close(inputs.grad.double(), precise.grad, atol=1e-5, rtol=0)


SIZE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}


@pytest.mark.parametrize(("config", "model"), [(BertConfig, BertModel), (RobertaConfig, RobertaModel)])
@pytest.mark.parametrize(("activation", "joined"), [("gelu", 2), ("gelu_new", 0), ("relu", 0)])
def test_an_encoder_with_joined_gelu_computes_the_same(config: type, model: type, activation: str, joined: int) -> None:
    torch.manual_seed(0)
    encoder = model(config(**SIZE, hidden_act=activation), add_pooling_layer=False).eval()
    ids, names = torch.randint(3, 50, (3, 11)), list(encoder.state_dict())
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.no_grad():
        expected = copy.deepcopy(encoder).double()(ids, mask).last_hidden_state
        use_in(encoder)
        found = encoder(ids, mask).last_hidden_state
    assert sum(type(module) is LinearGelu for module in encoder.modules()) == joined
    assert list(encoder.state_dict()) == names
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_gelu_stays_behind_a_layer_that_something_wraps() -> None:
    """An adapter adds to what the layer gives, before the activation."""
    encoder = BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    for layer in encoder.encoder.layer:
        layer.intermediate.dense = nn.Sequential(layer.intermediate.dense, nn.Linear(24, 24))
    ids = torch.randint(3, 50, (3, 11))
    with torch.no_grad():
        expected = copy.deepcopy(encoder).double()(ids).last_hidden_state
        use_in(encoder)
        found = encoder(ids).last_hidden_state
    assert not any(type(module) is LinearGelu for module in encoder.modules())
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def products_of(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return product(left, right, torch.empty(len(left), len(right)))


def test_products_are_those_of_float32_also_under_mixed_precision() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(64, 384), torch.randn(320, 384)
    with torch.autocast("cpu", torch.bfloat16):
        scores = products_of(left, right)
    assert scores.dtype == torch.float32
    apart = (scores.double() - left.double() @ right.double().T).abs().max()
    assert apart < 2e-4  # 384 products of up to 16, each rounded at 2^-24; those of bfloat16 would be .3 apart


@pytest.mark.parametrize("dim", [37, 256, 384])
@pytest.mark.parametrize("passages", [64, 192, 1024])
def test_equal_vectors_have_equal_scores_wherever_they_are(passages: int, dim: int) -> None:
    torch.manual_seed(0)
    one, other = torch.randn(1, dim), torch.randn(passages, dim)
    rows = products_of(torch.randn(64, dim), one.expand(passages, dim).contiguous())
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    columns = products_of(one.expand(64, dim).contiguous(), other)
    assert torch.equal(columns, columns[:1].expand_as(columns))


def test_onednn_s_products_do_not_depend_on_what_else_is_computed(library: str) -> None:
    if library == "MKL":
        pytest.skip("MKL's may; shapes and threads are fixed for that")
    torch.manual_seed(0)
    left, right = torch.randn(512, 384), torch.randn(1024, 384)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = products_of(left, right)
        torch.set_num_threads(1)
        assert torch.equal(products_of(left, right), whole)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(products_of(left[:7], right[:100].contiguous()), whole[:7, :100])
