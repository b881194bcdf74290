"""What a CPU allows an encoder: the float32 products of one layer alone, in the shapes in which the layer has them.

Each is by the faster of torch's libraries.
"""

from __future__ import annotations

import torch

from benchmarks.gpu import Shape
from benchmarks.side_by_side import least
from hardneg.model.products import product


def _best(left: torch.Tensor, right: torch.Tensor) -> float:
    """Seconds of a product, by the faster library."""
    out, rows = torch.empty(left.shape[0], right.shape[1]), right.T
    return min(least(lambda: torch.mm(left, right, out=out)), least(lambda: product(left, rows, out)))


def layer_rate(shape: Shape, tokens: int, backward: bool) -> float:
    """GFLOP/s of the six products with weights of a layer: four h x h, one h x f, one f x h.

    Args:
        shape: of the encoder: h = hidden, f = feed-forward.
        tokens: rows of the other factor, those of a forward pass.
        backward: with the two products that each has in the backward pass: by the weight, and of the inputs.
    """
    h, f = shape.hidden, shape.feed_forward
    operations = spent = 0.0
    for inner, outer, count in ((h, h, 4), (h, f, 1), (f, h, 1)):
        weight, values, gradient = torch.rand(outer, inner), torch.rand(tokens, inner), torch.rand(tokens, outer)
        pairs = [(values, weight.T)]
        if backward:
            pairs += [(gradient, weight), (gradient.T, values)]
        operations += count * len(pairs) * 2.0 * tokens * inner * outer
        spent += count * sum(_best(*pair) for pair in pairs)
    return operations / spent / 1e9
