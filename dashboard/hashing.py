"""Password hashing away from the event loop: in a thread, with a short queue.

Argon2 takes tens of milliseconds and 64 MiB of memory; it releases the interpreter's lock, so that others are answered
meanwhile. A caller that finds the queue full is refused at once instead of waiting for a minute. The last places are for
devices that are known: a crowd of strangers does not keep their users from signing in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

from workers.domain.errors import Unavailable

T = TypeVar("T")

THREADS = 1  # each takes 64 MiB while it hashes, and Argon2 itself uses four cores
MAX_WAITING = 8
RESERVED = 4


class HashingPool:
    """The hashing of one web process: at most `THREADS` calls at once, and few that wait."""

    def __init__(self, threads: int = THREADS, max_waiting: int = MAX_WAITING, reserved: int = RESERVED) -> None:
        self._pool = ThreadPool(threads) if is_module_patched("threading") else None
        self._turn = threading.BoundedSemaphore(threads)
        self._lock = threading.Lock()
        self._places, self._reserved = threads + max_waiting, reserved
        self._taken = 0

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function and wait for its result. Raises Unavailable when too many calls wait already."""
        return self._run(self._places, function, arguments)

    def run_for_known_device(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do the same with the reserved places too."""
        return self._run(self._places + self._reserved, function, arguments)

    def _run(self, places: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        with self._lock:
            if self._taken >= places:
                raise Unavailable("Too many passwords are being checked. Try again in a few seconds.")
            self._taken += 1
        try:
            if self._pool is not None:
                return cast(T, self._pool.apply(function, arguments))
            with self._turn:
                return function(*arguments)
        finally:
            with self._lock:
                self._taken -= 1
