"""Events out: compact JSON on the one Redis channel of the installation, heard by the relay of every web process.

Messages are hints. One that is lost costs a viewer a moment, never a job: pages read the rows again.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from redis.exceptions import RedisError

from workers.broker.connection import QuickRedis
from workers.domain.errors import Unavailable

MAX_BYTES = 65_536
HEARTBEAT = "heartbeat"  # the type of the message by which browsers know that the whole way to them works
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


# No message waits longer; then what follows is dropped for a while: a job must not wait for a Redis that hangs.
PATIENCE_SECONDS = 0.5
QUIET_SECONDS = 1.0  # doubled with each further message that waits in vain …
LONGEST_QUIET_SECONDS = 10.0  # … up to this


class LivePublisher:
    """Publishes what happens; `dropped` counts what could not be told."""

    def __init__(self, redis: QuickRedis) -> None:
        self._redis = redis
        self.dropped = 0
        self._in_flight: dict[int, float] = {}  # thread: since when it sends
        self._quiet_until, self._quiet_seconds = 0.0, QUIET_SECONDS

    def publish(self, message: dict[str, Any]) -> None:
        """Tell everybody who watches. Never raises: what is too large or cannot be sent is dropped and counted."""
        self.send(self.written(message) or b"")

    def send(self, word: bytes) -> None:
        """Publish what was written before; an empty word is none. While Redis hangs it is dropped."""
        if not word:
            return
        began = time.monotonic()
        if began < self._quiet_until or self._hangs(began):
            self.dropped += 1
            return
        self._in_flight[threading.get_ident()] = began
        try:
            self._redis.bare("PUBLISH", self._redis.names.live, word, within_seconds=PATIENCE_SECONDS)
            self._quiet_seconds = QUIET_SECONDS
        except (RedisError, OSError, Unavailable):
            self.dropped += 1
            ended = time.monotonic()
            if ended - began >= PATIENCE_SECONDS:
                self._quiet_until = ended + self._quiet_seconds
                self._quiet_seconds = min(2 * self._quiet_seconds, LONGEST_QUIET_SECONDS)
        finally:
            self._in_flight.pop(threading.get_ident(), None)

    def _hangs(self, now: float) -> bool:
        return any(now - since > PATIENCE_SECONDS for since in list(self._in_flight.values()))

    def written(self, message: dict[str, Any]) -> bytes | None:
        """Write a message for those who send it by themselves; None, and counted, when it cannot be told."""
        try:
            text = _COMPACT.encode(message).encode(errors="replace")
        except ValueError:
            text = None
        if text is None or len(text) > MAX_BYTES:
            self.dropped += 1
            return None
        return text
