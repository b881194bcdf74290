"""Signals that ask a training to stop. It ends its step, writes a checkpoint, and says so by its status."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before a time limit, and to jobs that others displace."""


class Asked:
    """Whether the process was asked to stop.

    Attributes:
        by: the name of the signal; None as long as there was none.
    """

    def __init__(self) -> None:
        self.by: str | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Called when a signal comes."""
        self.by = signal.Signals(number).name


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Inside it, a signal of `SIGNALS` is noted, and does nothing else."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield asked
        return
    before = {number: signal.signal(number, asked.note) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
