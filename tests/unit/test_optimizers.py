"""LAMB against NumPy, which weights are decayed, and the optimizers' names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardneg.training.optimizers import Lamb, optimizer_of

LR, EPS, DECAY = 0.02, 1e-8, 0.01


def network() -> nn.Sequential:
    """Two matrices, one of norm above 10 (the bound of phi) and one below, a bias that starts at 0, a LayerNorm."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.LayerNorm(30), nn.Linear(30, 2))
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(8)
        module.get_parameter("0.bias").zero_()
    return module


def gradients(module: nn.Module, step: int) -> dict[str, np.ndarray]:
    """Made-up gradients; none for the last bias at all, and only zeros for the first bias."""
    rng = np.random.default_rng(step)
    made = {name: rng.normal(size=tuple(p.shape)).astype(np.float32) for name, p in module.named_parameters()}
    made["0.bias"][:] = 0
    del made["2.bias"]
    return made


def apply(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        given = gradients(module, step)
        for name, parameter in module.named_parameters():
            if name in given:
                parameter.grad = torch.from_numpy(given[name])
        optimizer.step()


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy().astype(np.float64) for name, parameter in module.named_parameters()}


def lamb_by_hand(start: dict[str, np.ndarray], module: nn.Module, steps: int) -> dict[str, np.ndarray]:
    """Algorithm 2 without bias correction, from sums instead of running averages, in float64."""
    w = {name: value.copy() for name, value in start.items()}
    for last in range(steps):
        past = [gradients(module, step) for step in range(last + 1)]
        for name in past[-1]:
            m = sum(0.1 * 0.9 ** (last - t) * g[name].astype(np.float64) for t, g in enumerate(past))
            v = sum(0.001 * 0.999 ** (last - t) * g[name].astype(np.float64) ** 2 for t, g in enumerate(past))
            decay = DECAY if name in ("0.weight", "2.weight") else 0.0
            update = m / (np.sqrt(v) + EPS) + decay * w[name]
            norm, length = np.sqrt((w[name] ** 2).sum()), np.sqrt((update**2).sum())
            trust = min(norm, 10) / length if norm > 0 and length > 0 else 1.0
            w[name] = w[name] - LR * trust * update
    return w


def test_lamb_is_the_papers_algorithm() -> None:
    module = network()
    start = weights(module)
    assert np.linalg.norm(start["0.weight"]) > 20 and np.linalg.norm(start["2.weight"]) < 3
    settings = {"optimizer": "lamb", "lr": LR, "weight_decay": DECAY, "eps": EPS}
    apply(module, optimizer_of(module, settings), range(5))
    expected, made = lamb_by_hand(start, module, 5), weights(module)
    for name in expected:
        np.testing.assert_allclose(made[name], expected[name], rtol=2e-5, atol=2e-6, err_msg=name)
    assert np.array_equal(made["2.bias"], start["2.bias"])  # it has no gradient
    assert np.array_equal(made["0.bias"], start["0.bias"])  # it is 0 and does not move
    assert np.abs(made["0.weight"] - start["0.weight"]).max() > 1e-3


def test_the_first_lamb_step_has_the_length_of_the_weights() -> None:
    """The learning rate times min(|w|, 10), whatever the size of the gradient."""
    for scale in (1e-3, 1e3):
        for norm in (4.0, 50.0):
            weight = nn.Parameter(torch.full((4, 4), norm / 4))
            weight.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)) * scale
            Lamb([weight], lr=LR).step()
            moved = float((weight.detach() - norm / 4).norm())
            assert moved == pytest.approx(LR * min(norm, 10), rel=1e-4)


def test_a_weight_of_zero_moves_by_plain_adam() -> None:
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([1.0, -2.0, 0.5])
    Lamb([weight], lr=LR).step()
    step = 0.1 / np.sqrt(0.001)  # m / sqrt(v) of the first step, uncorrected
    np.testing.assert_allclose(weight.detach().numpy(), -LR * step * np.sign([1, -2, 0.5]), rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_a_saved_state_goes_on_as_if_never_stopped(name: str) -> None:
    settings = {"optimizer": name, "lr": LR, "weight_decay": DECAY, "eps": EPS}
    whole, parted = network(), network()
    apply(whole, optimizer_of(whole, settings), range(6))
    optimizer = optimizer_of(parted, settings)
    apply(parted, optimizer, range(3))
    again = network()
    again.load_state_dict(parted.state_dict())
    resumed = optimizer_of(again, settings)
    resumed.load_state_dict(optimizer.state_dict())
    apply(again, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert not torch.equal(parted.get_parameter("0.weight"), again.get_parameter("0.weight"))


def groups_of(module: nn.Module, **settings: Any) -> dict[str, float]:
    optimizer = optimizer_of(module, {"lr": LR, "weight_decay": DECAY, "eps": 1e-8, **settings})
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_biases_and_layer_norms_are_not_decayed(name: str) -> None:
    module = network()
    module.get_parameter("2.weight").requires_grad_(False)  # frozen: no optimizer's business
    plain = dict.fromkeys(["0.bias", "1.weight", "1.bias", "2.bias"], 0.0)
    assert groups_of(module, optimizer=name) == {"0.weight": DECAY, **plain}


def test_adamw_is_what_nothing_else_gives() -> None:
    module, same = network(), network()
    optimizer = optimizer_of(module, {"optimizer": "adamw", "lr": LR, "weight_decay": DECAY, "eps": 1e-8})
    assert type(optimizer) is torch.optim.AdamW and {group["eps"] for group in optimizer.param_groups} == {1e-8}
    apply(module, optimizer, range(3))
    decayed = [same.get_parameter(name) for name in ("0.weight", "2.weight")]
    others = [same.get_parameter(name) for name in ("0.bias", "1.weight", "1.bias", "2.bias")]
    plain: list[dict[str, Any]] = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    apply(same, torch.optim.AdamW(plain, lr=LR, foreach=False), range(3))
    for a, b in zip(module.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_eps_is_a_setting(name: str) -> None:
    optimizer = optimizer_of(network(), {"optimizer": name, "lr": LR, "weight_decay": DECAY, "eps": 1e-3})
    assert {group["eps"] for group in optimizer.param_groups} == {1e-3}
