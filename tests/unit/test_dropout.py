"""Dropout on a CPU: how much is dropped, what is drawn again, and that a training draws it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hardneg.model.dropout import Dropout, around_recomputing, factors


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_the_share_that_is_dropped_and_the_mean(p: float) -> None:
    torch.manual_seed(1)
    drawn = factors((1000, 1001), p, torch.float64)
    dropped = (drawn == 0).double().mean().item()
    assert abs(dropped - p) < 4 * math.sqrt(p * (1 - p) / drawn.numel()) + 2**-17
    assert abs(drawn.mean().item() - 1) < 4 * math.sqrt(p / (1 - p) / drawn.numel())
    kept = drawn[drawn > 0]
    assert torch.equal(kept, kept[:1].expand(len(kept))) and kept[0].item() == pytest.approx(1 / (1 - p), rel=1e-3)


def test_neighbours_in_rows_and_columns_are_independent() -> None:
    torch.manual_seed(2)
    dropped = (factors((512, 512), 0.25, torch.float32) == 0).double()
    for other in (dropped.roll(1, 0), dropped.roll(1, 1), dropped.roll(4, 1)):
        both = (dropped * other).mean().item()
        assert abs(both - 0.25**2) < 5 * math.sqrt(0.25**2 / dropped.numel())


def test_every_draw_is_another_and_a_seed_gives_it_again() -> None:
    torch.manual_seed(3)
    first, second = factors((40, 40), 0.5, torch.float32), factors((40, 40), 0.5, torch.float32)
    torch.manual_seed(3)
    assert torch.equal(factors((40, 40), 0.5, torch.float32), first)
    assert not torch.equal(first, second)


def test_a_module_and_the_attention_inside_and_outside() -> None:
    """Without dropout nothing changes; with it, attention is the formula with the factors that a seed gives."""
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=torch.Generator().manual_seed(4)).unbind()
    attend, drop = nn.functional.scaled_dot_product_attention, nn.Dropout(0.4)
    with Dropout():
        assert torch.equal(attend(query, key, value), attend(query, key, value, dropout_p=0.0))
        torch.manual_seed(5)
        attended = attend(query, key, value, dropout_p=0.4)
        dropped = drop(value)
        drop.eval()
        assert drop(value) is value
    torch.manual_seed(5)
    weights = (query @ key.transpose(-2, -1) / math.sqrt(8)).softmax(-1)
    torch.testing.assert_close(attended, weights * factors(weights.shape, 0.4, weights.dtype) @ value)
    assert torch.equal(dropped, value * factors(value.shape, 0.4, value.dtype))


def test_what_is_computed_again_in_the_backward_pass_draws_the_same() -> None:
    drop, weight = nn.Dropout(0.5), nn.Parameter(torch.randn(16, 16))

    def layer(values: torch.Tensor) -> torch.Tensor:
        dropped: torch.Tensor = drop(values @ weight)
        return dropped

    gradients: list[torch.Tensor] = []
    for again in (False, True):
        torch.manual_seed(6)
        weight.grad = None
        values = torch.ones(8, 16)
        with Dropout():
            out = (
                checkpoint(layer, values, use_reentrant=False, context_fn=around_recomputing)
                if again
                else layer(values)
            )
        out.square().sum().backward()
        assert weight.grad is not None
        gradients.append(weight.grad)
    assert torch.equal(*gradients)
