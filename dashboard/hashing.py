"""Password hashing away from the event loop: in a few threads, with a short queue.

Argon2 takes tens of milliseconds of a core and 64 MiB of memory; it releases the interpreter's lock, so that others are
answered meanwhile. Who finds the queue full is told so at once, instead of waiting for a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

from workers.domain.errors import Unavailable

T = TypeVar("T")

THREADS = 2
MAX_WAITING = 16


class HashingPool:
    """The threads of one web process; without gevent a call runs where it is made."""

    def __init__(self) -> None:
        self._pool = ThreadPool(THREADS) if is_module_patched("socket") else None
        self._waiting = 0

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function and wait for its result. Raises Unavailable when too many calls wait already."""
        if self._pool is None:
            return function(*arguments)
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many sign-ins are being checked. Try again in a few seconds.")
        self._waiting += 1
        try:
            return cast(T, self._pool.apply(function, arguments))
        finally:
            self._waiting -= 1
