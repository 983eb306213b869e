"""The way to Redis or Valkey."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from workers.broker.names import RedisNames
from workers.broker.outage import OutageLog
from workers.domain.errors import SettingsError, Unavailable
from workers.settings import Settings

CONNECT_SECONDS = 5
# Longer than any blocking wait of a worker. A connection whose peer has vanished is closed after that time.
ANSWER_SECONDS = 5
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}  # seconds, seconds, probes

outages = OutageLog()


class QuickRedis(Redis):
    """A client that can also send a command bare.

    What redis-py puts around a command (retries, events, its pool) costs as much as the trip itself: 148 µs against 69
    for a push. The hot paths do without. `names` are those of the installation that it is used for.
    """

    names: RedisNames

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bare: deque[Any] = deque()
        self._bare_pid = os.getpid()

    def bare(self, *command: Any, within_seconds: float | None = None) -> Any:
        """Send a command on a connection of its own kind and read the answer; tried anew once when the line was cut.

        `within_seconds` is for callers that can do without the answer: each wait lasts no longer. The server may still
        execute a command that was given up.
        """
        if self._bare_pid != os.getpid():
            self._bare, self._bare_pid = deque(), os.getpid()
        try:
            answer = self._exchange_or_reconnect(command, within_seconds)
        except (RedisError, OSError) as error:
            if not isinstance(error, NoScriptError):
                outages.record_failure(error)
            raise
        outages.record_success()
        return answer

    def ping_new_connection(self) -> None:
        """Ask the server on a new connection of its own, outside of every pool. Raises RedisError and OSError."""
        line = self.make_connection()
        try:
            line.send_command("PING", check_health=False)
            line.read_response()
        finally:
            line.disconnect()

    def close(self) -> None:
        """Close every connection."""
        if self._bare_pid == os.getpid():
            self._drop_idle()
        super().close()

    def _drop_idle(self) -> None:
        # The others are likely to be dead as well, and each would be waited for in turn.
        with suppress(IndexError):  # another thread may take the last one
            while self._bare:
                self._bare.pop().disconnect()
        self.connection_pool.disconnect(inuse_connections=False)

    def _exchange_or_reconnect(self, command: tuple[Any, ...], within_seconds: float | None) -> Any:
        try:
            line = self._bare.pop()
        except IndexError:
            return self._exchange(self._connected(within_seconds), command, within_seconds)
        try:
            return self._exchange(line, command, within_seconds)
        except (RedisConnectionError, OSError):
            return self._exchange(self._connected(within_seconds), command, within_seconds)

    def _connected(self, within_seconds: float | None) -> Any:
        line = self.make_connection()
        if within_seconds is None:
            return line
        limits = line.socket_connect_timeout, line.socket_timeout
        line.socket_connect_timeout = line.socket_timeout = within_seconds
        line.connect()
        line.socket_connect_timeout, line.socket_timeout = limits
        line.update_current_socket_timeout(-1)  # to what it is from now on
        return line

    def make_connection(self) -> Any:
        """Return a connection with the options of the address; it connects when it is used first."""
        # Made by the pool, a connection that fails would count towards its limit for ever.
        pool = self.connection_pool
        return pool.connection_class(**pool.connection_kwargs)

    def _exchange(self, line: Any, command: tuple[Any, ...], within_seconds: float | None) -> Any:
        limit = {} if within_seconds is None else {"timeout": within_seconds}
        try:
            line.send_command(*command, check_health=False)
            answer = line.read_response(**limit)
        except ResponseError:
            self._bare.append(line)
            raise
        except BaseException:
            # Whatever cut it short, an answer may still be under way: nobody else must read it.
            line.disconnect()
            self._drop_idle()
            raise
        self._bare.append(line)
        return answer


def connect(settings: Settings, names: RedisNames) -> QuickRedis:
    """Make a client for the Redis that the settings name; nothing is connected yet. Replies are bytes, as RQ wants.

    Raises SettingsError for options of the address that do not exist.
    """
    url = settings.effective_redis_url
    try:
        client = _client(url)
        client.make_connection()
    except (ValueError, TypeError) as error:
        raise SettingsError(f"REDIS_URL has an invalid option: {error}.") from error
    client.names = names
    return client


def _client(url: str) -> QuickRedis:
    client: QuickRedis = QuickRedis.from_url(
        url,
        health_check_interval=30,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        # One more try, on a new connection: redis-py's own ten would hold up a worker for minutes.
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=1),
        **_keepalive_of(url),
    )
    return client


def _keepalive_of(url: str) -> dict[str, Any]:
    """Return the options with which the system notices a peer that has vanished; a Unix socket needs none."""
    if url.startswith("unix:"):
        return {}
    options = {getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}


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
    except (RedisError, OSError) as error:
        outages.record_failure(error)
        raise Unavailable(f"Redis is not available: {error}") from error
    else:
        outages.record_success()
