"""The way to Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from workers.domain.errors import Unavailable
from workers.settings import Settings


def connect(settings: Settings) -> Redis:
    """Make a client for the Redis that the settings name; nothing is connected yet. Replies are bytes, as RQ wants."""
    client: Redis = Redis.from_url(settings.effective_redis_url, health_check_interval=30, socket_connect_timeout=5)
    return client


@contextmanager
def translated() -> Iterator[None]:
    """Turn a Redis that is away into Unavailable."""
    try:
        yield
    except (RedisConnectionError, RedisError) as error:
        raise Unavailable(f"Redis cannot be used now: {error}") from error
