"""The processes of a training, one a device. All of them take every step; they share its forward passes.

Every process draws the same queries and passages, encodes its share of the rows, gets the vectors of all, and computes
the loss of the whole batch. So orders, samplers, masks and losses know nothing of processes. Parameters get the
gradient of a process's own rows, and the sum over processes is that of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.rows import all_of, shared, together

BUCKET = 1 << 24
"""Numbers that are summed at once: 64 MiB of float32."""
LOWEST = -(2**63)


class Processes:
    """This process, and how many train together.

    Args:
        rank: of this process, from 0.
        count: of all of them.
        device: where this one computes, for what they tell each other.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.count, self.device = rank, count, device or torch.device("cpu")
        self._parts: list[nn.Parameter] = []

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, module: nn.Module) -> None:
        """Let every forward pass of a module be shared, in training and in evaluation.

        Args:
            module: whose forward pass takes each row for itself; or one without a forward pass, for those inside it.
        """
        if self.count == 1:
            return
        if type(module).forward is nn.Module.forward:
            for inner in module.children():
                self.share(inner)
            return
        module.forward = shared(module.forward, self.rank, self.count)
        self._parts += module.parameters()

    def add_gradients(self) -> None:
        """Replace the gradient of each parameter of a shared module by its sum over all processes.

        The order of summation depends on the number of processes alone, and all get the same bytes. Other parameters
        have their whole gradient in every process.
        """
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for parameter in self._parts:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            for bucket in _buckets(gradients):
                flat = torch.cat([gradient.flatten() for gradient in bucket])
                with together():
                    dist.all_reduce(flat)
                for gradient, summed in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                    gradient.copy_(summed.view_as(gradient))

    def any(self, here: bool) -> bool:
        """Whether it is so in any process. All must ask at the same time."""
        return here if self.count == 1 else any(self._numbers(int(here)))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            self._numbers(0)

    def agree(self, number: int, what: str) -> None:
        """Check that a number is the same in all processes.

        Raises:
            HardnegError: it is not.
        """
        if self.count > 1 and len(found := set(self._numbers(number))) > 1:
            raise HardnegError(
                f"The processes of a training differ in {what}.",
                found=", ".join(map(str, sorted(found))),
                expected="the same number in all of them",
                remedy="run the same command again; if it comes again, the disk or a device is failing.",
            )

    def join(self, keys: torch.Tensor, k: int) -> torch.Tensor:
        """The best keys of all processes, from those of each, int64 [n, any width]: [n, count k], in no order."""
        if self.count == 1:
            return keys
        best = keys.to(self.device)
        best = best.topk(min(k, best.shape[1])).values
        best = nn.functional.pad(best, (0, k - best.shape[1]), value=LOWEST).contiguous()
        return torch.cat(all_of(best, self.count), dim=1).to(keys.device)

    def _numbers(self, number: int) -> list[int]:
        """A number of each process."""
        return [int(each.item()) for each in all_of(torch.tensor([number], device=self.device), self.count)]


ALONE = Processes()


def _buckets(gradients: list[torch.Tensor]) -> Iterable[list[torch.Tensor]]:
    """The gradients in order, about `BUCKET` numbers at a time."""
    bucket: list[torch.Tensor] = []
    for gradient in gradients:
        bucket.append(gradient)
        if sum(each.numel() for each in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
