"""Float32 products on a CPU by the faster of the two libraries that torch has for them.

torch computes them by MKL, which keeps from AVX-512 on processors that are not Intel's. oneDNN, which torch has for
other kinds of numbers, does not: there a product takes less than half the time. Both round as float32 does. The library
depends on the processor alone, so that results repeat on processors of one kind.

oneDNN sums each number of a product in the same order, whatever the other rows and columns are and however many threads
there are, as long as there is more than one row.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

PROCESSORS = Path("/proc/cpuinfo")
INTEL = "GenuineIntel"
FEWEST = 2
"""Fewest rows with which oneDNN's products have the same bits as with more."""

FLOAT32 = 1e-4
"""Sums of 32 products of normally distributed numbers are nearer to the true ones, except where bf16 is used."""

SMALLEST = 16**3
"""Multiplications of a batch of products that torch hands to oneDNN; it computes smaller ones by other means."""


@functools.cache
def by_onednn() -> bool:
    """Whether oneDNN computes the products: the processor has AVX-512 and is not Intel's, and torch has oneDNN."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and PROCESSORS.exists()
        and INTEL not in PROCESSORS.read_text(encoding="utf-8")
    )


@functools.cache
def halves_by_onednn() -> bool:
    """Whether oneDNN computes the products, and the processor multiplies bf16 numbers faster than float32."""
    return by_onednn() and "avx512_bf16" in PROCESSORS.read_text(encoding="utf-8").split()


@functools.cache
def batches_by_onednn() -> bool:
    """Whether oneDNN computes batches of products, too, inside `batches`, and rounds as float32 does.

    torch hands them over only where they may be rounded to bf16. oneDNN does not do that unless the processor has
    matrix units, but this is no promise: so it is tried.
    """
    if not by_onednn():
        return False
    drawn = np.random.default_rng(0).standard_normal((2, 8, 32, 32))
    left, right = (torch.from_numpy(each.astype(np.float32)) for each in drawn)
    with batches():
        apart = torch.bmm(left, right).double() - torch.bmm(left.double(), right.double())
    return float(apart.abs().max()) < FLOAT32


@contextlib.contextmanager
def batches() -> Iterator[None]:
    """Inside it, torch has oneDNN compute batches of products. It is for where `batches_by_onednn`."""
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


def product(left: torch.Tensor, right: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
    """The inner products of the rows of two matrices of one dtype, which the products [m, n] have too; no gradient.

    On a CPU they are of float32, or where `halves_by_onednn` of bf16.

    Args:
        left: [m, dim].
        right: [n, dim], on the same device.
        place: [m, n]. A library that can write its result there does so; else it is left as it is. None: nowhere.
    """
    if left.device.type == "cpu" and by_onednn():
        return _onednn(left, right)
    return torch.mm(left, right.T, out=place)  # with `out`, autocast leaves the product in float32


def _onednn(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, gelu: bool = False
) -> torch.Tensor:
    if inputs.numel() == 0 or weight.numel() == 0:  # which oneDNN refuses
        outputs = nn.functional.linear(inputs, weight, bias)
        return nn.functional.gelu(outputs) if gelu else outputs
    joined, kind = ("gelu", "none") if gelu else ("none", "")
    computed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, joined, [], kind)
    return computed


class Linear(nn.Linear):
    """The same layer; its products on a CPU, and those of its backward pass, are by the faster library."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs [..., width] of inputs [..., n]."""
        if not self._faster(inputs):
            return super().forward(inputs)
        computed: torch.Tensor = _Linear.apply(inputs, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return computed

    def _faster(self, inputs: torch.Tensor) -> bool:
        floats = inputs.dtype == self.weight.dtype == torch.float32
        return inputs.device.type == "cpu" and floats and not torch.is_autocast_enabled("cpu") and by_onednn()


class LinearGelu(Linear):
    """The same layer with the GELU that follows it. Where no gradient is kept, oneDNN computes both in one pass."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs [..., width] of inputs [..., n]."""
        if torch.is_grad_enabled() or not self._faster(inputs):
            return nn.functional.gelu(super().forward(inputs))
        return _onednn(inputs, self.weight, self.bias, gelu=True)


class _Linear(torch.autograd.Function):
    """y = x W^T + b, with dx = dy W, dW = dy^T x, and db the sum of dy over rows."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return _onednn(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _onednn(gradient, weight.T) if of_inputs else None,
            _onednn(rows.T, inputs.reshape(-1, inputs.shape[-1]).T) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def use_in(model: nn.Module) -> None:
    """Make the linear layers of a model `Linear`, or `LinearGelu` in the feed-forward layers of BERT and its like.

    Their weights stay as they are.
    """
    for module in model.modules():  # a layer comes before its parts
        dense, then = getattr(module, "dense", None), getattr(module, "intermediate_act_fn", None)
        if type(dense) is nn.Linear and _is_gelu(then):
            dense.__class__, module.intermediate_act_fn = LinearGelu, nn.Identity()
        if type(module) is nn.Linear:
            module.__class__ = Linear


def _is_gelu(activation: nn.Module | None) -> bool:
    """Whether an activation is Transformers' module of the exact GELU."""
    if activation is None:  # Transformers takes seconds to import, and answering a question does without
        return False
    from transformers.activations import GELUActivation

    return type(activation) is GELUActivation and activation.act is nn.functional.gelu
