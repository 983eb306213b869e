"""Limits on attempts to guess a password, a code or a token: counted before the check, atomically, for all web processes.

Counters are in Redis, whose clock decides. Each process counts too: when Redis is away, slow or refuses to write, the limits
of the process still hold, so that a failure of Redis neither locks users out nor lets anybody guess without limit.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from workers.broker.names import RedisNames
from workers.domain.errors import Throttled, Unavailable

log = logging.getLogger("taskyard.throttle")

MAX_LOCAL_COUNTERS = 10_000
REDIS_RETRY_SECONDS = 5.0
_PORT = re.compile(r"(?:\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[\d.]+):\d+)")
# Either every counter is raised, or none because one has reached its limit: then the answer is the longest wait.
# `w` names the window of a counter, so that an attempt is taken back from the window that it was counted in.
_COUNT = """
local wait = 0
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'n') or '0') >= tonumber(ARGV[2 * i - 1]) then
    if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[2 * i]) end
    wait = math.max(wait, redis.call('PTTL', key), 1)
  end
end
if wait > 0 then return {wait} end
local time = redis.call('TIME')
local answer = {0}
for i, key in ipairs(KEYS) do
  local is_new = redis.call('HSETNX', key, 'w', time[1] .. '.' .. time[2])
  redis.call('HINCRBY', key, 'n', 1)
  if is_new == 1 or redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[2 * i]) end
  answer[i + 1] = redis.call('HGET', key, 'w')
end
return answer
"""
_REFUND = """
for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'w') == ARGV[i] and redis.call('HINCRBY', key, 'n', -1) <= 0 then redis.call('DEL', key) end
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` attempts in `seconds` for one subject, such as a name or an address."""

    kind: str
    subject: str
    most: int
    seconds: int = 60

    @property
    def key(self) -> str:
        """The counter. The subject is hashed: a key has the same length for a name of any length or content."""
        digest = hashlib.sha256(self.subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"limit:{self.kind}:{self.seconds}:{digest}"


@dataclass(slots=True)
class _Window:
    ends_at: float
    count: int = 0


class Attempt:
    """An attempt that was counted; it is taken back when it was no guess."""

    def __init__(self, throttle: Throttle, limits: Sequence[Limit], windows: list[_Window], marks: list[Any]) -> None:
        self._throttle = throttle
        self._limits, self._windows, self._marks = limits, windows, marks

    def refund(self) -> None:
        """Take the attempt back, once, from the windows in which it was counted."""
        windows, self._windows = self._windows, []
        marks, self._marks = self._marks, []
        self._throttle.take_back(self._limits, windows, marks)


class Throttle:
    """The counters of one web process, and those that it shares in Redis. The client must give up within a second."""

    def __init__(self, redis: Redis, names: RedisNames) -> None:
        self._redis, self._names = redis, names
        self._redis_again_at = 0.0
        self._local: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def count(self, *limits: Limit) -> Attempt:
        """Count one attempt against every limit. Raises Throttled, with the seconds to wait, when one is reached."""
        windows, wait_seconds = self._count_locally(limits)
        if wait_seconds > 0:
            raise Throttled(wait_seconds)
        arguments = [value for limit in limits for value in (limit.most, limit.seconds * 1000)]
        answer = self._ask(_COUNT, limits, arguments)
        wait_ms, marks = (answer[0], answer[1:]) if answer else (0, [])
        if wait_ms > 0:
            self.take_back(limits, windows, [])
            raise Throttled(wait_ms / 1000)
        return Attempt(self, limits, windows, marks)

    def take_back(self, limits: Sequence[Limit], windows: Sequence[_Window], marks: Sequence[Any]) -> None:
        """Take an attempt back from these windows of the process, and from those in Redis that have these marks."""
        with self._lock:
            for window in windows:
                window.count -= 1
        if marks:
            self._ask(_REFUND, limits, marks)

    def _ask(self, script: str, limits: Sequence[Limit], arguments: Sequence[Any]) -> Any:
        """Run a script in Redis; None when Redis cannot be used, which is then left alone for some seconds."""
        if time.monotonic() < self._redis_again_at:
            return None
        try:
            keys = [self._names.key(limit.key) for limit in limits]
            return self._redis.eval(script, len(keys), *keys, *arguments)
        except (RedisError, OSError, Unavailable) as error:
            self._redis_again_at = time.monotonic() + REDIS_RETRY_SECONDS
            log.warning("attempts are counted in this process only, because Redis is not available: %s", error)
            return None

    def _count_locally(self, limits: Sequence[Limit]) -> tuple[list[_Window], float]:
        now = time.monotonic()
        with self._lock:
            self._make_room(now)
            windows = [self._window(limit, now) for limit in limits]
            pairs = zip(limits, windows, strict=True)
            waits = [window.ends_at - now for limit, window in pairs if window.count >= limit.most]
            if not waits:
                for window in windows:
                    window.count += 1
        return windows, max(waits, default=0.0)

    def _window(self, limit: Limit, now: float) -> _Window:
        window = self._local.get(limit.key)
        if window is None or window.ends_at <= now:
            self._local.pop(limit.key, None)  # the order is that of age
            window = self._local[limit.key] = _Window(now + limit.seconds)
        return window

    def _make_room(self, now: float) -> None:
        if len(self._local) < MAX_LOCAL_COUNTERS:
            return
        self._local = {key: window for key, window in self._local.items() if window.ends_at > now and window.count > 0}
        while len(self._local) > MAX_LOCAL_COUNTERS * 9 // 10:
            self._local.pop(next(iter(self._local)))  # the oldest one


def network_of(address: str | None) -> str:
    """Return what stands for one client: an IPv4 address, or the /64 network that one IPv6 client can choose from."""
    text = (address or "").strip()
    port = _PORT.fullmatch(text)  # some proxies write the client's port too
    if port:
        text = port["v6"] or port["v4"] or ""
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
