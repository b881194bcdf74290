"""A signal's handler that may wait for a lock."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any


def beside(handler: Callable[..., Any]) -> Callable[..., None]:
    """The handler, run in a thread of its own.

    A handler runs in the main thread, whatever that is doing. If it takes a lock that this thread holds, both wait for
    ever. `_thread`, since `threading.Thread` takes locks of its own to start.
    """

    def handle(*given: Any) -> None:
        _thread.start_new_thread(handler, given)

    return handle
