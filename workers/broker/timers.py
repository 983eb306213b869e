"""What shall happen later, carried in Redis by rq-scheduler: the only place that knows it.

It only carries. An entry says that something is due; whoever hears it acts under a key that SQL keeps unique, so an
entry that comes twice does no harm, and one that is lost is carried again from what SQL knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from redis import Redis
from rq_scheduler import Scheduler

from workers.broker.connection import QuickRedis, translated
from workers.broker.names import RedisNames

log = logging.getLogger("taskyard.timers")

INTERVAL_SECONDS = 1
_BATCH = 200
_SET_BACK_SECONDS = 60
_CALLED = "workers.broker.timers.fire"

Fire = Callable[[str, datetime], None]
_Scored = list[tuple[bytes, float]]


class _JsonJob(Scheduler.job_class):  # type: ignore[misc]
    """RQ's job with the JSON serializer, which rq-scheduler does not pass on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "serializer": "json"})


class _Carrier(Scheduler):  # type: ignore[misc]
    """rq-scheduler under the installation's names: another one on the same Redis must not push our entries, nor we its."""

    def __init__(self, names: RedisNames, connection: Redis, name: str | None) -> None:
        super().__init__(
            names.queue("system"), connection=connection, interval=INTERVAL_SECONDS, job_class=_JsonJob, name=name
        )
        self.scheduled_jobs_key = names.key("timers")
        self.scheduler_lock_key = names.key("timers", "lock")
        self.redis_scheduler_namespace_prefix = names.key("scheduler", "")


class Timers:
    """Names that wait for their moment; any number of processes may share them."""

    def __init__(self, redis: QuickRedis, name: str | None = None) -> None:
        self._redis, self._own_name = redis, name

    def carry(self, name: str, at: datetime) -> None:
        """Carry a name (letters, digits, _ and -) to its moment; one that is carried is moved. Raises Unavailable.

        Moments have whole seconds.
        """
        naive = at.astimezone(UTC).replace(tzinfo=None)
        with translated():
            self._carrier.enqueue_at(naive, _CALLED, name, int(at.timestamp()), job_id=self._entry(name))

    def drop(self, name: str) -> bool:
        """Carry a name no longer; tells whether it was carried. Raises Unavailable."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.zrem(self._key, self._entry(name))
            pipe.delete(_JsonJob.redis_job_namespace_prefix + self._entry(name))
            return bool(pipe.execute()[0])

    def carried(self) -> dict[str, datetime]:
        """Tell every name that waits, with its moment. Raises Unavailable."""
        with translated():
            entries = cast(_Scored, self._redis.zrange(self._key, 0, -1, withscores=True))
        return {self._name(entry): datetime.fromtimestamp(score, UTC) for entry, score in entries}

    def is_carried(self, name: str) -> bool:
        """Tell whether a name waits. Raises Unavailable."""
        with translated():
            return self._redis.zscore(self._key, self._entry(name)) is not None

    def fire_due(self, now: datetime, fire: Fire) -> int:
        """Call `fire` with each name whose moment has come, 200 at most; tells how many. Raises Unavailable.

        Does nothing while another process is at it. A name is dropped when `fire` returns, unless it was carried on to
        a later moment; when `fire` fails, it is set back by a minute and the others go on.
        """
        limit = int(now.timestamp())
        with translated():
            if not self._redis.zcount(self._key, 0, limit) or not self._carrier.acquire_lock():
                return 0
            try:
                due = cast(_Scored, self._redis.zrangebyscore(self._key, 0, limit, 0, _BATCH, withscores=True))
                return sum(self._fire(self._name(entry), score, fire) for entry, score in due)
            finally:
                self._carrier.remove_lock()

    def has_lost_everything(self) -> bool:
        """Tell whether Redis was emptied since this was asked last, by whichever process. Raises Unavailable."""
        with translated():
            return bool(self._redis.set(self._redis.names.key("timers", "not-emptied"), 1, nx=True))

    def tell_alive(self, database: str = "") -> None:
        """Show in Redis that this scheduler runs, and on which database; the sign fades by itself. Raises Unavailable."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.hsetnx(self._carrier.key, "birth", time.time())
            pipe.hset(self._carrier.key, "database", database)
            pipe.expire(self._carrier.key, INTERVAL_SECONDS + 10)
            pipe.execute()

    def tell_ended(self) -> None:
        """Take the sign away. Raises Unavailable."""
        with translated():
            self._redis.delete(self._carrier.key)

    @cached_property
    def _carrier(self) -> _Carrier:
        # Made when it is needed: its names are not known while the database is away.
        return _Carrier(self._redis.names, self._redis, self._own_name)

    @property
    def _key(self) -> str:
        return self._carrier.scheduled_jobs_key

    def _entry(self, name: str) -> str:
        # RQ's ids have letters, digits, dashes and underscores only.
        return f"timer-{self._redis.names.installation}-{name}"

    def _name(self, entry: bytes) -> str:
        return entry.decode().removeprefix(self._entry(""))

    def _fire(self, name: str, score: float, fire: Fire) -> bool:
        try:
            fire(name, datetime.fromtimestamp(score, UTC))
        except Exception:
            log.exception("the timer %s failed; retrying in %s s", name, _SET_BACK_SECONDS)
            self._redis.zadd(self._key, {self._entry(name): int(time.time()) + _SET_BACK_SECONDS}, xx=True)
            return False
        if self._redis.zscore(self._key, self._entry(name)) == score:
            self.drop(name)
        return True


def fire(name: str, at: int) -> None:
    """Stand as the function of an entry; `Timers.fire_due` reads its name instead of calling it."""


def running_schedulers(redis: QuickRedis) -> dict[str, str]:
    """Return the schedulers that have shown themselves in the last seconds: name to database. Raises Unavailable."""
    prefix = redis.names.key("scheduler", "")
    with translated():
        keys = sorted(redis.scan_iter(f"{prefix}*", count=1000))
        return {key.decode().removeprefix(prefix): (redis.hget(key, "database") or b"").decode() for key in keys}
