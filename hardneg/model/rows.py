"""A forward pass that several processes share: each encodes some of its rows, and all get all vectors.

The pass is that of one process: the same rows, padded to the same width, and the same dropout. For the last, every
process draws the dropout of all rows and takes what belongs to its own, so that all of them are at the same place in
the same stream of random numbers. Drawing costs little beside a matrix product.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.overrides import TorchFunctionMode

Contexts = tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]


class Rows(NamedTuple):
    """The rows `first` to `end` (exclusive) of a forward pass over `total`."""

    first: int
    end: int
    total: int


def share_of(total: int, rank: int, count: int) -> Rows:
    """The rows of one of `count` processes. Shares differ by one row at most; some are empty where rows are few."""
    return Rows(rank * total // count, (rank + 1) * total // count, total)


_inside: list[Rows] = []
"""The rows of the forward pass that runs now."""


class DropoutOfAll(TorchFunctionMode):
    """Inside it, dropout over some rows of a forward pass is that which one process draws for them.

    It knows `torch.nn.functional.dropout` and the dropout inside `scaled_dot_product_attention`, whose fused kernels on
    a GPU draw other numbers. What a model draws by other means, it draws for the rows of each process.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions."""
        named = dict(kwargs or {})
        if func is nn.functional.dropout:
            return self._dropout(*args, **named)
        if func is nn.functional.scaled_dot_product_attention and named.get("dropout_p", 0.0) > 0:
            return self._attention(*args, **named)
        return func(*args, **named)

    def _dropout(self, values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        first, end, total = self.rows
        if not training or p == 0 or values.shape[0] != end - first:
            return nn.functional.dropout(values, p, training, inplace)
        every = torch.ones((total, *values.shape[1:]), dtype=values.dtype, device=values.device)
        drawn = nn.functional.dropout(every, p)[first:end].clone()  # which lets go of the other rows' numbers
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
        weights: torch.Tensor = self._dropout(scores.softmax(-1).to(value.dtype), dropout_p)
        return weights @ value


def around_recomputing() -> Contexts:
    """For `torch.utils.checkpoint` inside a forward pass: what the backward pass computes again draws the same."""
    return contextlib.nullcontext(), DropoutOfAll(_inside[-1]) if _inside else contextlib.nullcontext()


class PeerLost(RuntimeError):
    """Another process of the training ended, or cannot be reached."""


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Around what all processes do together.

    Raises:
        PeerLost: one of them does not.
    """
    try:
        yield
    except RuntimeError as fault:
        raise PeerLost(str(fault)) from fault


def all_of(own: torch.Tensor, count: int) -> list[torch.Tensor]:
    """A tensor of each of `count` processes, in their order; all of one shape.

    Raises:
        PeerLost: see `together`.
    """
    parts = [torch.empty_like(own) for _ in range(count)]
    with together():
        dist.all_gather(parts, own)
    return parts


class _Gathered(torch.autograd.Function):
    """The vectors of all processes. Each computes the whole loss, so each has the whole gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, rank: int, count: int, total: int) -> torch.Tensor:
        ctx.rows = rows = share_of(total, rank, count)
        shares = [share_of(total, each, count) for each in range(count)]
        most = max(end - first for first, end, _ in shares)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: rows.end - rows.first] = own
        parts = all_of(padded, count)
        return torch.cat([part[: end - first] for part, (first, end, _) in zip(parts, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return gradient[ctx.rows.first : ctx.rows.end], None, None, None


def shared(forward: Callable[..., torch.Tensor], rank: int, count: int) -> Callable[..., torch.Tensor]:
    """`forward`, its rows shared among `count` processes that all call it with the same arguments.

    Args:
        forward: of tensors [n, ...] to vectors [n, dim] or scores [n], each row for itself.
        rank: of this process.
        count: of processes.
    """

    def of_all(*inputs: torch.Tensor) -> torch.Tensor:
        rows = share_of(len(inputs[0]), rank, count)
        # A process without a row reads the first one for nothing: its backward pass then is like the others'.
        read = rows if rows.end > rows.first else Rows(0, 1, rows.total)
        _inside.append(read)
        try:
            with DropoutOfAll(read):
                own = forward(*(each[read.first : read.end] for each in inputs))
        finally:
            _inside.pop()
        kept = own[: rows.end - rows.first]
        gathered: torch.Tensor = _Gathered.apply(kept, rank, count, rows.total)  # type: ignore[no-untyped-call]
        return gathered

    return of_all
