"""What a law is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.speeds.measured import Measured, Neural
from hardneg.stages.stage import Stage


class Law(ABC):
    """What one kind of stage needs.

    Only `seconds` uses speeds. Memory and disk follow from sizes alone, so they can be computed for a machine that was
    never measured. None means that it cannot be computed.
    """

    @abstractmethod
    def memory(self, stage: Stage, sizes: Sizes) -> int | None:
        """Peak host memory of one process, in bytes."""

    @abstractmethod
    def disk(self, stage: Stage, sizes: Sizes) -> int | None:
        """Bytes of the files the stage leaves."""

    @abstractmethod
    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Wall time, without checking the inputs' digests and writing the outputs'."""

    def gpu_memory(self, stage: Stage, sizes: Sizes) -> int:
        """Bytes of memory on one GPU; 0 if it uses none."""
        return 0

    def scratch(self, stage: Stage, sizes: Sizes) -> int:
        """Bytes of disk used while running and freed at the end."""
        return 0

    def jobs(self, sizes: Sizes) -> int:
        """How many jobs share the work."""
        return 1

    def processes(self, stage: Stage, sizes: Sizes) -> int:
        """How many processes run side by side."""
        return 1


def over(amount: float, rate: float | None) -> float | None:
    """Seconds for an amount at a rate per second; None if the rate was not measured."""
    return None if rate is None else amount / rate


def neural_of(measured: Measured) -> Neural:
    """The encoder's speeds, for dense stages."""
    assert measured.neural is not None, "dense stages are planned, so the encoder was measured"
    return measured.neural
