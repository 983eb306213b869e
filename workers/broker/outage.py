"""The log of Redis outages.

An outage is one line at its start and one at its end. Commands that Redis refuses are logged once a minute.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from redis.exceptions import ResponseError

log = logging.getLogger("taskyard.redis")

REFUSAL_SECONDS = 60.0  # between two log lines; a full Redis refuses commands for hours


class OutageLog:
    """Counts the calls that fail until one succeeds; a thousand of them are two lines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Another thread may hold the lock while this one forks.
        os.register_at_fork(after_in_child=self._renew_lock)
        self._started_at: float | None = None
        self._failures = 0
        self._last_error: BaseException | None = None
        self._refused_at: float | None = None

    def record_failure(self, error: BaseException) -> None:
        """Count a failed call; the same exception is counted once, however many layers it passes."""
        if isinstance(error, ResponseError):
            self._record_refusal(error)
            return
        with self._lock:
            if error is self._last_error:
                return
            self._last_error = error
            self._failures += 1
            if self._started_at is not None:
                return
            self._started_at = time.monotonic()
        reason = str(error).rstrip(".")
        log.warning("Redis is not available: %s. Calls are retried.", reason)

    def record_success(self) -> None:
        """Note a call that was answered; the first one after failures ends the outage."""
        if self._started_at is None:
            return
        with self._lock:
            if self._started_at is None:
                return
            seconds, failures = time.monotonic() - self._started_at, self._failures
            self._started_at, self._failures, self._last_error = None, 0, None
        noun = "call" if failures == 1 else "calls"
        log.warning("Redis answers again after %.1f s; %d %s failed.", seconds, failures, noun)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def _record_refusal(self, error: ResponseError) -> None:
        now = time.monotonic()
        with self._lock:
            if self._refused_at is not None and now - self._refused_at < REFUSAL_SECONDS:
                return
            self._refused_at = now
        log.warning("Redis refuses a command: %s", error)
