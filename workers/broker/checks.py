"""What is wrong with Redis: the light question that the web process asks every few seconds, and all that Taskyard needs there.

The commands write only keys of the installation that end within seconds, or change nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from workers.broker.connection import QuickRedis
from workers.broker.names import RedisNames
from workers.broker.queues import (
    COMMANDS_CHANNEL,
    JOB_PREFIX,
    QUEUE_PREFIX,
    QUEUES_KEY,
    SUSPENDED_KEY,
    WORKER_PREFIX,
    WORKERS_KEY,
)

_CLUSTER = ("CROSSSLOT", "MOVED", "ASK", "CLUSTERDOWN")
_TLS = ("SSL", "CERTIFICATE")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong and what to do; `is_setting` when only another setting, here or in Redis, can help."""

    what: str
    remedy: str
    is_setting: bool = False

    @property
    def sentence(self) -> str:
        """Both in one text."""
        return f"{self.what} {self.remedy}"


SUSPENDED = Trouble(
    "The workers of this Redis are suspended (rq suspend), Taskyard's among them.", "Resume them with: rq resume."
)


def find_trouble(redis: Redis, names: RedisNames) -> Trouble | None:
    """Return why jobs wait for Redis now, or None; one trip that changes nothing. Raises Unavailable (names)."""
    try:
        with redis.pipeline(transaction=False) as pipe:
            # A write for Redis, refused when it is full or read-only; but there is no such key.
            pipe.set(names.key("check"), 1, xx=True)
            pipe.exists(SUSPENDED_KEY)
            written, suspended = pipe.execute(raise_on_error=False)
    except (RedisError, OSError) as error:
        return trouble_of(error)
    for answer in (written, suspended):
        if isinstance(answer, Exception):
            return trouble_of(answer)
    return SUSPENDED if suspended else None


def check(redis: QuickRedis) -> Trouble | None:
    """Return what is wrong, or None: reached, allowed all that Taskyard does, and writing. Raises Unavailable (names)."""
    try:
        refused = _try_commands(redis) or _try_subscribing(redis)
    except (RedisError, OSError) as error:
        return trouble_of(error)
    return refused or find_trouble(redis, redis.names)


def trouble_of(error: BaseException) -> Trouble:
    """Say what an error of Redis means."""
    text = str(error).strip().rstrip(".")
    if isinstance(error, AuthenticationError):
        return _authentication(text)
    if isinstance(error, NoPermissionError):
        return Trouble(f"The user of REDIS_URL lacks a right in Redis: {text}.", _RIGHTS, is_setting=True)
    if isinstance(error, OutOfMemoryError):
        return Trouble(
            "Redis is full and refuses new entries. Jobs that are not in a queue yet wait in the database.",
            "Raise maxmemory or free memory in Redis.",
        )
    if isinstance(error, ReadOnlyError):
        return Trouble(
            "Redis is read-only, so no job can be put on a queue or taken from it.",
            "REDIS_URL must name the primary, not a replica.",
        )
    if isinstance(error, BusyLoadingError):
        return Trouble("Redis is loading its data.", "Wait until loading has finished.")
    if isinstance(error, ResponseError):
        return _refusal(text)
    if any(word in text for word in _TLS):
        return Trouble(
            f"TLS with Redis fails: {text}.", "Check rediss:// and the certificates in REDIS_URL.", is_setting=True
        )
    if isinstance(error, RedisTimeout):
        return Trouble("Redis does not answer in time.", "It may be paused (CLIENT PAUSE), overloaded or cut off.")
    return Trouble(f"Redis cannot be reached: {text}.", "Start it, or correct REDIS_URL.")


_RIGHTS = "docs/operations.md lists the rights (ACL) that Taskyard needs."


def _authentication(text: str) -> Trouble:
    if "without any password" in text or "no password is set" in text:
        return Trouble(
            "REDIS_URL holds a password, but Redis has none.", "Remove it, or set one in Redis.", is_setting=True
        )
    if "required" in text.lower() or "already authenticated" in text:
        return Trouble(
            "Redis requires a password.", "Write it into REDIS_URL: redis://user:password@host.", is_setting=True
        )
    return Trouble("Redis refuses the user name or password of REDIS_URL.", "Correct them.", is_setting=True)


def _refusal(text: str) -> Trouble:
    if text.startswith("MISCONF"):
        return Trouble(
            "Redis refuses writes because it cannot save its data to disk.", "Free disk space there and read its log."
        )
    if text.startswith(("MASTERDOWN", "NOREPLICAS")):
        return Trouble(f"Redis refuses commands: {text}.", "Check its replication.")
    if text.startswith(_CLUSTER):
        return Trouble("REDIS_URL names a Redis Cluster.", "Taskyard needs a single server.", is_setting=True)
    if "DB index" in text:
        return Trouble("Redis has no database of this number.", "Correct the number in REDIS_URL.", is_setting=True)
    if "unknown command" in text:
        return Trouble(
            f"This server lacks a command: {text}.",
            "REDIS_URL must name a Redis >= 6.2 or Valkey >= 7.2 with scripts; it may be a Sentinel or have them disabled.",
            is_setting=True,
        )
    return Trouble(f"Redis refuses a command: {text}.", "See its documentation for the error.")


def _commands(names: RedisNames) -> Iterator[tuple[Any, ...]]:
    mark = secrets.token_hex(4)
    own, hashed, listed, sorted_set = (names.key("check", mark, kind) for kind in ("text", "hash", "list", "zset"))
    yield from (("EVAL", "return 1", 0), ("EVALSHA", "0" * 40, 0), ("PUBLISH", names.live, ""))
    yield from (("SET", own, 1, "NX", "PX", 5000), ("GET", own), ("EXISTS", own), ("PTTL", own), ("TIME",))
    yield from (
        ("HSET", hashed, "f", 1),
        ("HSETNX", hashed, "g", 1),
        ("HINCRBY", hashed, "f", 1),
        ("HGET", hashed, "f"),
    )
    yield from (("HMGET", hashed, "f"), ("HDEL", hashed, "g"), ("HEXISTS", hashed, "g"), ("EXPIRE", hashed, 5))
    yield from (("RPUSH", listed, "a", "b"), ("LPUSH", listed, "c"), ("LLEN", listed), ("LRANGE", listed, 0, -1))
    yield from (("LREM", listed, 1, "b"), ("LPOP", listed), ("BLPOP", listed, 1), ("PEXPIRE", listed, 5000))
    yield from (("ZADD", sorted_set, 1, "a"), ("ZRANGE", sorted_set, 0, -1), ("ZSCORE", sorted_set, "a"))
    yield from (("ZCOUNT", sorted_set, 0, 1), ("ZRANGEBYSCORE", sorted_set, 0, 1), ("ZREM", sorted_set, "a"))
    yield from (("MULTI",), ("EXEC",), ("DEL", own, hashed, listed, sorted_set))
    # Keys that RQ's tools read: of what is shared only our own members are named.
    nobody = names.worker(f"check-{mark}")
    yield from (("EXISTS", SUSPENDED_KEY), ("SREM", QUEUES_KEY, names.prefix + mark), ("SREM", WORKERS_KEY, nobody))
    yield from (
        ("SREM", f"{WORKERS_KEY}:{names.queue('default')}", nobody),
        ("DEL", WORKER_PREFIX + nobody),
    )
    yield from (("DEL", JOB_PREFIX + mark), ("LLEN", QUEUE_PREFIX + names.queue("default")), ("SCAN", 0, "COUNT", 1))


def _try_commands(redis: QuickRedis) -> Trouble | None:
    with redis.pipeline(transaction=False) as pipe:
        for command in _commands(redis.names):
            pipe.execute_command(*command)
        answers = pipe.execute(raise_on_error=False)
    errors = [answer for answer in answers if isinstance(answer, RedisError) and not isinstance(answer, NoScriptError)]
    troubles = [trouble_of(error) for error in errors]
    # What a setting causes comes first: it explains the others.
    return min(troubles, key=lambda trouble: not trouble.is_setting, default=None)


def _try_subscribing(redis: QuickRedis) -> Trouble | None:
    for channel in (redis.names.live, COMMANDS_CHANNEL % redis.names.worker("check")):
        with closing(redis.pubsub()) as pubsub:
            pubsub.subscribe(channel)
            try:
                pubsub.get_message(timeout=2)
            except NoPermissionError as error:
                return trouble_of(error)
    return None
