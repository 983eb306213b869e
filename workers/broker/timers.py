"""What shall happen later, carried by rq-scheduler: the only place that knows it.

rq-scheduler pushes, then forgets: a crash between the two fires twice. So an entry here only says that something is due;
whoever hears it acts under a key that SQL keeps unique.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

from workers.broker.connection import translated

log = logging.getLogger("taskyard.timers")
KEY = "taskyard:timers"
Fire = Callable[[str, datetime], None]


class JsonJob(Job):  # type: ignore[misc]
    """A job of RQ whose serializer is JSON whoever fetches it: rq-scheduler does not say."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:
        super().__init__(id=id, connection=connection, serializer=JSONSerializer)


class Timers(Scheduler):  # type: ignore[misc]
    """Carries named moments and says when they have come; any number of processes may share them."""

    scheduled_jobs_key = KEY
    scheduler_key = f"{KEY}:scheduler"
    scheduler_lock_key = f"{KEY}:lock"

    def __init__(self, redis: Redis, fire: Fire | None = None) -> None:
        super().__init__(queue_name="system", connection=redis, interval=1, job_class=JsonJob)
        self._fire = fire

    def carry(self, name: str, at: datetime) -> None:
        """Carry a name to its moment (whole seconds); one that is carried already gets the new moment. Unavailable."""
        with translated():
            naive = at.astimezone(UTC).replace(tzinfo=None)
            self.enqueue_at(naive, "workers.broker.timers.due", name, int(at.timestamp()), job_id=_job_id(name))

    def drop(self, name: str) -> None:
        """Carry a name no longer. Unavailable."""
        with translated():
            self.connection.zrem(KEY, _job_id(name))
            self.connection.delete(Job.redis_job_namespace_prefix + _job_id(name))

    def carried(self) -> dict[str, datetime]:
        """Tell what is carried, and to when. Unavailable."""
        with translated():
            found = self.connection.zrange(KEY, 0, -1, withscores=True)
        return {one.decode().removeprefix("timer-"): datetime.fromtimestamp(score, UTC) for one, score in found}

    def fire_due(self) -> int:
        """Say everything that is due, each at most a moment late; tells how many. Raises Unavailable."""
        with translated():
            names = self.connection.zrangebyscore(KEY, "-inf", datetime.now(UTC).timestamp())
        return sum(self._fire_one(name.decode()) for name in names)

    def _fire_one(self, job_id: str) -> bool:
        # One poisoned entry must not stop the others: it is dropped with a word in the log.
        try:
            job = JsonJob.fetch(job_id, connection=self.connection)
            name, at = job.args
            if self._fire is not None:
                self._fire(name, datetime.fromtimestamp(at, UTC))
        except (NoSuchJobError, TypeError, ValueError) as error:
            log.error("timer %s cannot be read and is dropped: %s", job_id, error)
        with contextlib.suppress(RedisError):
            # Whoever heard it may have carried it on to its next moment: then it stays.
            score = self.connection.zscore(KEY, job_id)
            if score is not None and score <= datetime.now(UTC).timestamp():
                self.connection.zrem(KEY, job_id)
        return True


def due(name: str, at: int) -> None:
    """Stand as the function of an entry; it is never called: `Timers.fire_due` reads the name instead."""


def _job_id(name: str) -> str:
    return f"timer-{name}"
