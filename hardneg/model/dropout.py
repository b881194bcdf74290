"""Dropout on a CPU in a third of the time.

torch draws a CPU's dropout one number after the other, by a generator of 32 bits a number and in one thread. That took
17% of a step of STAR with the small encoder on two cores. Here the generator of NumPy gives four 16-bit numbers at a
time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

RANGE = 2**16
"""A number is dropped with a probability that is a multiple of 1/RANGE."""


def factors(shape: Sequence[int], p: float, dtype: torch.dtype) -> torch.Tensor:
    """What dropout multiplies with: 0 with probability p, else 1 / (1 - p), so that the mean is 1.

    The probability is p rounded to a multiple of 2^-16, and the factor is that of the rounded one.

    Args:
        shape: of the result.
        p: between 0 and 1, less than 1.
        dtype: of the result.

    Returns:
        A tensor on the CPU. One number is drawn of torch's generator and seeds the others, so that what restores
        torch's state draws the same again.
    """
    return kept(drawn(_seed(), shape), p).to(dtype).mul_(scale(p))


def drawn(seed: int | Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Random int16 numbers of that shape, which the seed determines."""
    count = math.prod(shape)
    numbers = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.int16)[:count]
    return torch.from_numpy(numbers).view(*shape)


def kept(numbers: torch.Tensor, p: float) -> torch.Tensor:
    """Of random int16 numbers, float32: 0 for each with probability p, else 1.

    torch compares numbers of 16 bits, and makes numbers of truth values, in seven times the time.
    """
    return numbers.float().ge_(_dropped(p) - RANGE // 2)


def scale(p: float) -> float:
    """The factor of what is kept: 1 / (1 - p) for a p that is rounded to a multiple of 1/RANGE."""
    return RANGE / (RANGE - _dropped(p))


def _dropped(p: float) -> int:
    return min(round(p * RANGE), RANGE - 1)


def _seed() -> int:
    """The next number of torch's generator."""
    return int(torch.randint(2**62, ()))


_inside: list[Dropout] = []
"""Those that hold now, the innermost last."""


def innermost() -> Dropout | None:
    """The `Dropout` that holds now."""
    return _inside[-1] if _inside else None


class Dropout(TorchFunctionMode):
    """Inside it, `factors` draws the dropout of what is computed on a CPU.

    It knows `torch.nn.functional.dropout` and the dropout inside `scaled_dot_product_attention`. Other random numbers
    of a model are torch's own.
    """

    first_row = 0
    """Which row of a forward pass that several processes share is the first of this one."""

    def __enter__(self) -> Self:
        """Begin."""
        _inside.append(self)
        entered: Self = super().__enter__()  # type: ignore[no-untyped-call]
        return entered

    def __exit__(self, *fault: Any) -> None:
        """End."""
        super().__exit__(*fault)  # type: ignore[no-untyped-call]
        _inside.pop()

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions."""
        named = dict(kwargs or {})
        if func is nn.functional.dropout:
            return self.dropout(*args, **named)
        if func is nn.functional.scaled_dot_product_attention and named.get("dropout_p", 0.0) > 0:
            return self._attention(*args, **named)
        return func(*args, **named)

    def dropout(self, values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        """As `torch.nn.functional.dropout`."""
        if not training or not 0 < p < 1 or values.device.type != "cpu":
            return nn.functional.dropout(values, p, training, inplace)
        drawn = factors(values.shape, p, values.dtype)
        return values.mul_(drawn) if inplace else values * drawn

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Attention by its formula: [n, heads, q, d] from queries, keys and values."""
        if enable_gqa:
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
        weights: torch.Tensor = self.dropout(scores.softmax(-1).to(value.dtype), dropout_p)
        return weights @ value


class DropoutOfTexts(Dropout):
    """Inside it, texts lie one after another, and the dropout of each is drawn for itself.

    So it does not depend on what else a process reads.

    Args:
        lengths: tokens of each text, of which any number of others may follow.
        tokens: of all of them.
    """

    def __init__(self, lengths: Sequence[int], tokens: int) -> None:
        super().__init__()
        around = innermost()
        self.first_row = 0 if around is None else around.first_row
        self._lengths, self._tokens = lengths, tokens

    def dropout(self, values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        """See `Dropout`. Values [1, tokens, ...] are those of the texts."""
        if not training or not 0 < p < 1 or values.shape[:2] != (1, self._tokens):
            return super().dropout(values, p, training, inplace)
        numbers, of_text, first = torch.zeros(values.shape[1:], dtype=torch.int16), self.of_text(), 0
        for text, length in enumerate(self._lengths):
            part = numbers[first : first + length]
            part.copy_(of_text(text, part.shape))
            first += length
        factor = kept(numbers, p).to(values.dtype).mul_(scale(p))[None]
        return values.mul_(factor) if inplace else values * factor

    def of_text(self) -> Callable[[int, Sequence[int]], torch.Tensor]:
        """From the number of a text, and a shape, random int16 numbers for it."""
        seed = _seed()
        return lambda text, shape: drawn((seed, self.first_row + text), shape)


def dropout_on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Around a forward pass in training: `Dropout` on a CPU; a GPU draws its own."""
    return Dropout() if device.type == "cpu" else contextlib.nullcontext()


def around_recomputing() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
    """For `torch.utils.checkpoint`: what the backward pass computes again draws as the forward pass does now."""
    return contextlib.nullcontext(), _inside[-1] if _inside else contextlib.nullcontext()
