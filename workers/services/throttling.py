"""Limits on attempts to guess a password, a code or a token: counted before the check, atomically, for all web processes.

The counters are in Redis, whose clock decides. While it is away a counter of this process stands in, so that a failure of
Redis neither locks users out nor lets anybody guess without limit.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from workers.domain.errors import Throttled
from workers.yard import Yard

log = logging.getLogger("taskyard.throttle")

_MAX_LOCAL_COUNTERS = 10_000
# Each counter is raised, and given its end when it is new; the answer is the longest wait in milliseconds, 0 for none.
_COUNT = """
local wait = 0
for i, key in ipairs(KEYS) do
  local n = redis.call('INCR', key)
  if n == 1 or redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[2 * i]) end
  if n > tonumber(ARGV[2 * i - 1]) then wait = math.max(wait, redis.call('PTTL', key), 1) end
end
return wait
"""
# A success is no guess; a counter that has ended meanwhile must not begin below zero.
_REFUND = """
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
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
        """The counter in Redis; names are hashed so that none of any length or content can be told from it."""
        digest = hashlib.sha256(self.subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"taskyard:attempts:{self.kind}:{digest}"


class Throttle:
    """The counters of one Taskyard."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._local: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def count(self, *limits: Limit) -> None:
        """Count one attempt against every limit. Raises Throttled, with the seconds to wait, when one is exceeded."""
        wait_seconds = self._count(limits)
        if wait_seconds > 0:
            raise Throttled(wait_seconds)

    def refund(self, *limits: Limit) -> None:
        """Take back an attempt that succeeded."""
        try:
            self._run(_REFUND, [limit.key for limit in limits], [])
        except (RedisError, OSError):
            with self._lock:
                for limit in limits:
                    ends_at, count = self._local.get(limit.key, (0.0, 0))
                    self._local[limit.key] = (ends_at, max(0, count - 1))

    def _count(self, limits: Sequence[Limit]) -> float:
        arguments = [value for limit in limits for value in (limit.most, limit.seconds * 1000)]
        try:
            wait_ms = self._run(_COUNT, [limit.key for limit in limits], arguments)
        except (RedisError, OSError) as error:
            log.warning("attempts are counted in this process only, Redis cannot be used: %s", error)
            return self._count_locally(limits)
        return wait_ms / 1000

    def _run(self, script: str, keys: list[str], arguments: list[int]) -> int:
        return int(self._yard.redis.eval(script, len(keys), *keys, *arguments))

    def _count_locally(self, limits: Sequence[Limit]) -> float:
        now = time.monotonic()
        wait_seconds = 0.0
        with self._lock:
            self._forget_ended(now)
            for limit in limits:
                ends_at, count = self._local.get(limit.key, (0.0, 0))
                if ends_at <= now:
                    ends_at, count = now + limit.seconds, 0
                self._local[limit.key] = (ends_at, count + 1)
                if count + 1 > limit.most:
                    wait_seconds = max(wait_seconds, ends_at - now)
        return wait_seconds

    def _forget_ended(self, now: float) -> None:
        if len(self._local) < _MAX_LOCAL_COUNTERS:
            return
        self._local = {key: value for key, value in self._local.items() if value[0] > now}
        while len(self._local) >= _MAX_LOCAL_COUNTERS:
            self._local.pop(next(iter(self._local)))


def network_of(address: str | None) -> str:
    """Return what stands for one client: an IPv4 address, or the /64 network that one IPv6 client can choose from."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
