"""Timers in Redis: rq-scheduler, which carries an entry until its moment and then puts it on a queue.

It only carries. What is due is decided by the rows in SQL, and an entry that comes twice or never is mended from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rq_scheduler import Scheduler

from workers.broker.connection import translated

log = logging.getLogger("taskyard.timers")

BATCH = 200
INTERVAL_SECONDS = 1
_SET_BACK_SECONDS = 300


class _JsonJob(Scheduler.job_class):  # type: ignore[misc]
    """RQ's job with the JSON serializer, which rq-scheduler does not pass on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "serializer": "json"})


class Timers:
    """The entries that wait in Redis for their moment."""

    def __init__(self, redis: Redis, name: str | None = None) -> None:
        self._redis = redis
        self._scheduler = Scheduler(connection=redis, interval=INTERVAL_SECONDS, job_class=_JsonJob, name=name)

    def carry(self, fire_id: str, at: datetime, queue: str, func: str, args: Sequence[Any]) -> None:
        """Carry an entry to this RQ queue at this moment (whole seconds); the same id again moves it. Raises Unavailable."""
        naive = at.astimezone(UTC).replace(tzinfo=None)
        with translated():
            self._scheduler.enqueue_at(naive, func, *args, job_id=fire_id, queue_name=queue)

    def drop(self, fire_id: str) -> bool:
        """Carry an entry no longer; tells whether it was there. Raises Unavailable."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.zrem(self._scheduler.scheduled_jobs_key, fire_id)
            pipe.delete(_JsonJob.redis_job_namespace_prefix + fire_id)
            return bool(pipe.execute()[0])

    def carried(self) -> dict[str, datetime]:
        """Tell every entry that waits, with its moment. Raises Unavailable."""
        with translated():
            entries = self._redis.zrange(self._scheduler.scheduled_jobs_key, 0, -1, withscores=True)
        return {name.decode(): datetime.fromtimestamp(score, UTC) for name, score in entries}

    def push_due(self, now: datetime) -> int:
        """Put the entries whose moment has come on their queues, 200 at most; tells how many. Raises Unavailable.

        Does nothing while another scheduler is at it. An entry that cannot be pushed is set back, the others go on.
        """
        with translated():
            if not self._redis.zcount(self._scheduler.scheduled_jobs_key, 0, int(now.timestamp())):
                return 0
            if not self._scheduler.acquire_lock():
                return 0
            try:
                return sum(self._push(name) for name in self._due(now))
            finally:
                self._scheduler.remove_lock()

    def tell_alive(self, seconds: float) -> None:
        """Show in Redis that this scheduler runs, for so many seconds. Raises Unavailable."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.hsetnx(self._scheduler.key, "birth", time.time())
            pipe.expire(self._scheduler.key, max(1, int(seconds)))
            pipe.execute()

    def tell_ended(self) -> None:
        """Show that this scheduler has ended. Raises Unavailable."""
        with translated():
            self._redis.delete(self._scheduler.key)

    def _due(self, now: datetime) -> list[str]:
        key = self._scheduler.scheduled_jobs_key
        return [name.decode() for name in self._redis.zrangebyscore(key, 0, int(now.timestamp()), start=0, num=BATCH)]

    def _push(self, name: str) -> bool:
        key = self._scheduler.scheduled_jobs_key
        if not self._redis.exists(_JsonJob.redis_job_namespace_prefix + name):
            self._redis.zrem(key, name)
            log.warning("the timer %s has lost what it carried and is dropped", name)
            return False
        try:
            self._scheduler.enqueue_job(_JsonJob.fetch(name, connection=self._redis))
        except Exception:
            log.exception("the timer %s cannot be pushed; tried again in %s s", name, _SET_BACK_SECONDS)
            self._redis.zadd(key, {name: int(time.time()) + _SET_BACK_SECONDS})
            return False
        return True


def running_schedulers(redis: Redis) -> list[str]:
    """Name the schedulers that have shown themselves lately. Raises Unavailable."""
    prefix = Scheduler.redis_scheduler_namespace_prefix
    with translated():
        return sorted(key.decode().removeprefix(prefix) for key in redis.scan_iter(f"{prefix}*", count=1000))
