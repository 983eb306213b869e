"""What a task may leave changed in its process: when anything is, the process is not used again."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from typing import Any

from workers.settings import environment

_SIGNALS = tuple(
    getattr(signal, name)
    for name in "SIGINT SIGTERM SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGPROF SIGVTALRM".split()
)
_LIMITS = tuple(
    getattr(resource, name)
    for name in "RLIMIT_AS RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_NOFILE RLIMIT_STACK".split()
)


class Surroundings:
    """The state of this process before any task ran, for comparison; `descriptors` are those that tasks share with us."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors
        self._before = self._look()

    def are_changed(self) -> bool:
        """Tell whether something differs now, or a process or thread was left behind."""
        return self._look() != self._before or _has_children()

    def descriptors_are_gone(self) -> bool:
        """Tell whether a shared descriptor was closed or leads elsewhere."""
        return self._files() != self._before[0]

    def _look(self) -> tuple[Any, ...]:
        mask = os.umask(0o077)
        os.umask(mask)
        return (
            self._files(),
            _folder(),
            environment(),
            threading.active_count(),
            mask,
            [signal.getsignal(one) for one in _SIGNALS],
            signal.getitimer(signal.ITIMER_REAL),
            [resource.getrlimit(one) for one in _LIMITS],
            sys.getrecursionlimit(),
        )

    def _files(self) -> list[tuple[int, int] | None]:
        return [_identity(one) for one in self._descriptors]


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
