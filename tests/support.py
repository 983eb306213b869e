"""What tests of every floor share."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def eventually(assertion: Callable[[], object], within: float = 5.0, every: float = 0.05) -> None:
    """Call the assertion until it holds; its last failure is raised when the time is over."""
    until = time.monotonic() + within
    while True:
        try:
            assertion()
            return
        except (AssertionError, LookupError, OSError, StopIteration):
            if time.monotonic() >= until:
                raise
            time.sleep(every)


def free_port() -> int:
    """Find a port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
