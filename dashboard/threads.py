"""Work that takes long, away from the event loop: one thread answers everybody, so none may hold it for long.

Several pools, so that slow reads and large documents of some do not hold up what others write. A thread that computes
shares the interpreter's lock with the event loop, which gets it back within a millisecond (`SWITCH_SECONDS`). Bodies,
exports and large documents are read, checked and written in a single thread: each takes a lot of memory, and a second one
would only compete for the same lock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import gevent
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

T = TypeVar("T")

SIZES = {"read": 4, "write": 2, "compute": 1, "files": 2}
SWITCH_SECONDS = 0.001


class Threads:
    """A pool of threads; without gevent, and in a thread of a pool, a call runs where it is made."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPool(size) if is_module_patched("socket") else None

    @property
    def is_needed(self) -> bool:
        """Return whether the caller would hold up the event loop."""
        return self._pool is not None and self._pool.hub is gevent.hub._get_hub()

    def run(self, function: Callable[..., T], *arguments: Any, interrupt: Callable[[], object] | None = None) -> T:
        """Call a function in a thread and wait for its result; a waiter that is killed interrupts the call and waits for its end."""
        if self._pool is None or not self.is_needed:
            return function(*arguments)
        result = self._pool.spawn(_outcome, function, arguments)
        try:
            value, error = result.get()
        finally:
            if not result.ready():
                if interrupt is not None:
                    interrupt()
                result.wait()
        try:
            if error is not None:
                raise error
            return cast(T, value)
        finally:
            del error  # or it and its traceback would hold each other, and all that the call has made


_pools: dict[str, Threads] = {}


def pool(name: str) -> Threads:
    """Return a pool of this process: `read`, `write`, `compute` or `files`."""
    if name not in _pools:
        if is_module_patched("socket"):
            sys.setswitchinterval(SWITCH_SECONDS)
        _pools[name] = Threads(SIZES[name])
    return _pools[name]


def run_in_thread(function: Callable[..., T], /, *arguments: Any) -> T:
    """Call a function that only computes in the one thread for that, and wait for its result."""
    return pool("compute").run(function, *arguments)


def _outcome(function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T | None, Exception | None]:
    """Return the result of a call or its error: one that leaves the thread is written to the log by gevent."""
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error
