"""Being a child process that does not outlive its parent, and looking after children that die."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """End this process with SIGTERM when its parent is gone, killed included."""
    expected = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != expected:
        os.kill(os.getpid(), signal.SIGTERM)
    elif sys.platform != "linux":
        threading.Thread(target=_watch, args=(expected,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


class Backoff:
    """How long to wait before a process that died is started again: 1, 2, 4 … 30 seconds; a minute of life forgives."""

    def __init__(self) -> None:
        self._failures, self._started_at = 0, 0.0
        self.due_at = 0.0

    def started(self) -> None:
        """Note a start."""
        self._started_at = time.monotonic()

    def died(self) -> float:
        """Note a death; the seconds until the next start."""
        if time.monotonic() - self._started_at > 60:
            self._failures = 0
        wait = min(2.0**self._failures, 30.0)
        self._failures += 1
        self.due_at = time.monotonic() + wait
        return wait
