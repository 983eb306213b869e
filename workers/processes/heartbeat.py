"""The two threads of a worker that nothing else waits for: one beats in SQL, one reports to Redis and to viewers.

Redis or SQL may hang for many seconds. Neither delays the other, and neither delays the end of a job at its time limit,
which the worker's main thread sees to without a call to either.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from redis.exceptions import RedisError

from workers.domain.errors import Unavailable

log = logging.getLogger("taskyard.worker")

TICK_SECONDS = 0.2
_MOST_WORDS = 100

# No connection to SQL may be open while the worker forks: it would be open in both processes.
_sql = threading.Lock()
_held_for_fork = False


def hold_for_fork(*, may_wait: bool = True) -> bool:
    """Keep the heartbeat from SQL until this process has forked; waits for the statement that is under way.

    Without `may_wait` it waits for nothing and returns False when a statement is under way.
    """
    global _held_for_fork
    _held_for_fork = _sql.acquire(blocking=may_wait)
    return _held_for_fork


def release_hold() -> None:
    """Let the heartbeat use SQL again; done by itself when the process has forked."""
    global _held_for_fork
    if _held_for_fork:
        _held_for_fork = False
        _sql.release()


os.register_at_fork(after_in_parent=release_hold, after_in_child=release_hold)


def sql_turn() -> AbstractContextManager[object]:
    """Return a context in which this process may use SQL beside its main thread: it does not fork meanwhile."""
    return _sql


class Heartbeat:
    """Calls `beat` several times a second, and `report` as often in another thread."""

    def __init__(self, beat: Callable[[], None], report: Callable[[], None], send: Callable[[bytes], None]) -> None:
        self._beat, self._report, self._send = beat, report, send
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._words: deque[bytes] = deque(maxlen=_MOST_WORDS)

    def start(self) -> None:
        """Start both threads."""
        for name, step in (("sql", self._beat_once), ("redis", self._report_once)):
            thread = threading.Thread(target=self._run, args=(step,), name=f"taskyard-heartbeat-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, wait_seconds: float = 2.0) -> None:
        """End both threads; one that hangs is left behind."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(wait_seconds)

    def tell_viewers(self, word: bytes | None) -> None:
        """Have a message sent to viewers soon; the oldest are dropped when Redis does not take them."""
        if word:
            self._words.append(word)

    def _run(self, step: Callable[[], None]) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            try:
                step()
            except (Unavailable, RedisError):
                continue
            except Exception:
                log.exception("the heartbeat failed")

    def _beat_once(self) -> None:
        with _sql:
            self._beat()

    def _report_once(self) -> None:
        with suppress(IndexError):
            while True:
                self._send(self._words.popleft())
        self._report()
