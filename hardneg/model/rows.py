"""A forward pass that several processes share: each encodes some of its rows, and all get all vectors.

The pass is that of one process: the same rows, padded to the same width, and the same dropout. For the last, every
process draws the dropout of all rows and takes what belongs to its own, so that all of them are at the same place in
the same stream of random numbers. Drawing costs little beside a matrix product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from hardneg.model.dropout import Dropout


class Rows(NamedTuple):
    """The rows `first` to `end` (exclusive) of a forward pass over `total`."""

    first: int
    end: int
    total: int


def share_of(total: int, rank: int, count: int) -> Rows:
    """The rows of one of `count` processes. Shares differ by one row at most; some are empty where rows are few."""
    return Rows(rank * total // count, (rank + 1) * total // count, total)


class DropoutOfAll(Dropout):
    """Inside it, dropout over some rows of a forward pass is that which one process draws for them.

    What a model draws by other means than those that `Dropout` knows, it draws for the rows of each process. The fused
    attention kernels of a GPU would draw other numbers, so that attention there is by its formula.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows, self.first_row = rows, rows.first

    def dropout(self, values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        """See `Dropout`."""
        first, end, total = self.rows
        if not training or p == 0 or values.shape[0] != end - first:
            return super().dropout(values, p, training, inplace)
        every = torch.ones((total, *values.shape[1:]), dtype=values.dtype, device=values.device)
        drawn = super().dropout(every, p)[first:end].clone()  # which lets go of the other rows' numbers
        return values.mul_(drawn) if inplace else values * drawn


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
        with DropoutOfAll(read):
            own = forward(*(each[read.first : read.end] for each in inputs))
        kept = own[: rows.end - rows.first]
        gathered: torch.Tensor = _Gathered.apply(kept, rank, count, rows.total)  # type: ignore[no-untyped-call]
        return gathered

    return of_all
