"""The way to Redis or Valkey."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from workers.domain.errors import Unavailable
from workers.settings import Settings


class QuickRedis(Redis):
    """A client that can also send a command bare.

    What redis-py puts around a command (retries, events, its pool) costs as much as the trip itself: 148 µs against 69
    for a push. The hot paths do without.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bare: deque[Any] = deque()
        self._bare_pid = os.getpid()

    def bare(self, *command: Any) -> Any:
        """Send a command on a connection of its own kind and read the answer; tried anew once when the line was cut."""
        if self._bare_pid != os.getpid():
            self._bare, self._bare_pid = deque(), os.getpid()
        try:
            line = self._bare.pop()
        except IndexError:
            return self._exchange(self.connection_pool.make_connection(), command)
        try:
            return self._exchange(line, command)
        except (RedisConnectionError, OSError):
            return self._exchange(self.connection_pool.make_connection(), command)

    def close(self) -> None:
        """Close every connection."""
        while self._bare and self._bare_pid == os.getpid():
            self._bare.pop().disconnect()
        super().close()

    def _exchange(self, line: Any, command: tuple[Any, ...]) -> Any:
        try:
            line.send_command(*command, check_health=False)
            answer = line.read_response()
        except ResponseError:
            self._bare.append(line)
            raise
        except BaseException:
            # Whatever cut it short, an answer may still be under way: nobody else must read it.
            line.disconnect()
            raise
        self._bare.append(line)
        return answer


def connect(settings: Settings) -> QuickRedis:
    """Make a client for the Redis that the settings name; nothing is connected yet. Replies are bytes, as RQ wants."""
    client: QuickRedis = QuickRedis.from_url(
        settings.effective_redis_url, health_check_interval=30, socket_connect_timeout=5
    )
    return client


def connect_impatiently(settings: Settings, answer_within_seconds: float = 0.5, connections: int = 8) -> Redis:
    """Make a client that gives up soon, for callers that can do without an answer; callers share its few connections."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        settings.effective_redis_url,
        max_connections=connections,
        timeout=answer_within_seconds,
        socket_timeout=answer_within_seconds,
        socket_connect_timeout=answer_within_seconds,
    )
    return Redis(connection_pool=pool)


@contextmanager
def translated() -> Iterator[None]:
    """Turn a Redis that is away into Unavailable."""
    try:
        yield
    except (RedisConnectionError, RedisError) as error:
        raise Unavailable(f"Redis cannot be used now: {error}") from error
