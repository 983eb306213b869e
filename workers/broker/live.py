"""Events out: compact JSON on one Redis channel, heard by the relay of every web process.

Messages are hints. One that is lost costs a viewer a moment, never a job: pages read the rows again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

CHANNEL = "taskyard:live"
MAX_BYTES = 65_536


class LivePublisher:
    """Publishes what happens; `dropped` counts what could not be told."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.dropped = 0

    def publish(self, message: Mapping[str, Any]) -> None:
        """Tell everybody who watches. Never raises: what is too large or cannot be sent is dropped and counted."""
        try:
            text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)
            if len(text.encode(errors="replace")) > MAX_BYTES:
                self.dropped += 1
                return
            self._redis.publish(CHANNEL, text.encode(errors="replace"))
        except (RedisError, OSError, ValueError):
            self.dropped += 1
