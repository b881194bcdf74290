"""A signal that comes while the main thread holds the lock that its handler takes."""

from __future__ import annotations

import os
import signal
from threading import Event, Lock
from typing import Any

from workflow_scripts.beside import beside


def test_a_handler_waits_until_the_interrupted_thread_gives_the_lock_back() -> None:
    lock, done = Lock(), Event()

    def handler(*_: Any) -> None:
        with lock:
            done.set()

    before = signal.signal(signal.SIGUSR2, beside(handler))
    try:
        with lock:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert not done.wait(0.1)
        assert done.wait(10)
    finally:
        signal.signal(signal.SIGUSR2, before)
