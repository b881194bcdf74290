"""Attention of packed texts in training, on a CPU: of each text to itself, with its gradient.

Each of torch's operations looks at the attention weights of all texts, which no cache holds. Here a few texts are
worked on from end to end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from hardneg.model.dropout import kept, scale
from hardneg.model.products import SMALLEST, batches, batches_by_onednn

TOGETHER, CACHED = (8, 4, 2, 1), 4 << 20
"""Texts that a CPU reads together, where its caches hold their attention weights. oneDNN makes code for each number."""

Numbers = Callable[[int, Sequence[int]], torch.Tensor]


class Some(NamedTuple):
    """Texts of one length that are read together.

    Attributes:
        first: the number of the first.
        texts: how many.
        length: tokens of each.
        tokens: where they are.
    """

    first: int
    texts: int
    length: int
    tokens: slice

    def of(self, every: torch.Tensor) -> torch.Tensor:
        """A view [texts, heads, length, width] of what is theirs in [tokens, heads, width]."""
        return every[self.tokens].view(self.texts, self.length, *every.shape[1:]).transpose(1, 2)


def few(count: int, heads: int, length: int) -> Iterator[slice]:
    """Which of `count` texts of one length are read together."""
    first = 0
    while first < count:
        fitting = (some for some in TOGETHER if first + some <= count and some * heads * length**2 <= CACHED)
        some = next(fitting, 1)
        yield slice(first, first + some)
        first += some


def divided(alike: Sequence[tuple[int, int]], heads: int) -> Iterator[Some]:
    """The texts, a few at a time, of which `alike` tells how many follow each other that have as many tokens."""
    text = token = 0
    for count, length in alike:
        for part in few(count, heads, length) if length else ():
            some = part.stop - part.start
            yield Some(text + part.start, some, length, slice(token, token + some * length))
            token += some * length
        text += count


def _filled(like: torch.Tensor, alike: Sequence[tuple[int, int]]) -> torch.Tensor:
    """A new tensor that is to hold what is computed for the texts; 0 for tokens of no text."""
    made = torch.empty_like(like)
    made[sum(count * length for count, length in alike) :] = 0
    return made


def fast(heads: int, length: int, width: int) -> contextlib.AbstractContextManager[None]:
    """Around the products of texts of one length. The same library computes them for one text as for several."""
    return batches() if heads * length**2 * width > SMALLEST and batches_by_onednn() else contextlib.nullcontext()


class Attended(torch.autograd.Function):
    """O = D V with D = P * M / (1 - p) and P = softmax(s Q K^T), where M leaves weights out; for each text and head.

    With the gradient dO: dV = D^T dO, dP = M / (1 - p) * dO V^T, dS = P * (dP - sum(dP * P)), dQ = s dS K and
    dK = s dS^T Q.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        alike: Sequence[tuple[int, int]],
        scaling: float,
        seen: Callable[[int], torch.Tensor | None],
        numbers: Numbers | None,
        p: float,
    ) -> torch.Tensor:
        """Attention [tokens, heads, width].

        Args:
            ctx: torch's.
            query: float32 [tokens, heads, width].
            key: as `query`.
            value: as `query`.
            alike: see `divided`.
            scaling: s.
            seen: from the length of a text, which tokens each of them sees, [length, length]; None: all.
            numbers: from the number of a text and [heads, length, length], random numbers for `kept`; None: no dropout.
            p: probability of dropout.
        """
        query, value = query * scaling, value * scale(p)
        made, saved = _filled(value, alike), []
        for some in divided(alike, query.shape[1]):
            asked, keys, values = (some.of(each) for each in (query, key, value))
            with fast(*asked.shape[1:]):
                weights = torch.matmul(asked, keys.transpose(2, 3))
                unseen = seen(some.length)
                if unseen is not None:
                    weights.masked_fill_(~unseen, -torch.inf)
                weights = weights.softmax(-1)
                saved.append(weights)
                if numbers is not None:
                    drawn = [numbers(some.first + text, weights.shape[1:]) for text in range(some.texts)]
                    saved.append(drawn[0][None] if some.texts == 1 else torch.stack(drawn))
                    weights = kept(saved[-1], p).mul_(weights)
                some.of(made).copy_(torch.matmul(weights, values))
        ctx.save_for_backward(query, key, value, *saved)
        ctx.alike, ctx.scaling, ctx.p, ctx.drops = alike, scaling, p, numbers is not None
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of queries, keys and values."""
        query, key, value, *saved = ctx.saved_tensors
        of_query, of_key, of_value = (_filled(each, ctx.alike) for each in (query, key, value))
        rest = iter(saved)
        for some in divided(ctx.alike, query.shape[1]):
            asked, keys, values, given = (some.of(each) for each in (query, key, value, gradient))
            weights = next(rest)
            factor = kept(next(rest), ctx.p) if ctx.drops else None
            with fast(*asked.shape[1:]):
                left = weights if factor is None else weights * factor
                some.of(of_value).copy_(torch.matmul(left.transpose(2, 3), given))
                of_weights = torch.matmul(given, values.transpose(2, 3))
                if factor is not None:
                    of_weights.mul_(factor)
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                some.of(of_query).copy_(torch.matmul(of_scores, keys))
                some.of(of_key).copy_(torch.matmul(of_scores.transpose(2, 3), asked))
        return of_query.mul_(ctx.scaling), of_key, of_value.mul_(scale(ctx.p)), None, None, None, None, None
