"""Events out: compact JSON on the one Redis channel of the installation, heard by the relay of every web process.

Messages are hints. One that is lost costs a viewer a moment, never a job: pages read the rows again.
"""

from __future__ import annotations

import json
from typing import Any

from redis.exceptions import RedisError

from workers.broker.connection import QuickRedis
from workers.domain.errors import Unavailable

MAX_BYTES = 65_536
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


class LivePublisher:
    """Publishes what happens; `dropped` counts what could not be told."""

    def __init__(self, redis: QuickRedis) -> None:
        self._redis = redis
        self.dropped = 0

    def publish(self, message: dict[str, Any]) -> None:
        """Tell everybody who watches. Never raises: what is too large or cannot be sent is dropped and counted."""
        self.send(self.written(message) or b"")

    def send(self, word: bytes) -> None:
        """Publish what was written before; an empty word is none."""
        try:
            if word:
                self._redis.bare("PUBLISH", self._redis.names.live, word)
        except (RedisError, OSError, Unavailable):
            self.dropped += 1

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
