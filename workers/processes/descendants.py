"""Everything that a task has started ends with its job, also what left the child's session or lost its parent.

On Linux child and worker are subreapers: a process whose parent ends becomes a child of the warm child, and, once that is
dead, of the worker. So whatever the worker has as a child and has not forked itself was started by a task. Elsewhere only
what still descends from the child at the moment of the kill is found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_SECONDS = 5.0
_WAIT_SECONDS = 0.01
_OWN: set[int] = set()


def adopt_orphans() -> None:
    """Have the system (Linux) make this process the parent of those descendants that lose theirs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def unadoptable(pid: int) -> list[psutil.Process]:
    """List what descends from a process, where nothing is adopted: it must be found before that process is gone."""
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).children(recursive=True)
    return []


def kill_all(processes: Collection[psutil.Process]) -> None:
    """Kill these processes; harmless when they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def note_own(pid: int) -> None:
    """Note a child that this process has forked for itself, so that `end_adopted` leaves it alone."""
    _OWN.add(pid)


def forget_own(pid: int) -> None:
    """Note that such a child is gone."""
    _OWN.discard(pid)


def end_adopted(own: Collection[int] = _OWN) -> None:
    """Kill and reap what this process has adopted, until nothing is left; `own` are the children that it has forked.

    Gives up after some seconds: what cannot be killed waits for the kernel, and must not hold up the worker.
    """
    if sys.platform != "linux":
        return
    until = time.monotonic() + _LONGEST_SECONDS
    while (adopted := _adopted(own)) and time.monotonic() < until:
        for pid in adopted:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_WAIT_SECONDS)
        for pid in adopted:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _adopted(own: Collection[int]) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process().children() if process.pid not in own]
    return []
