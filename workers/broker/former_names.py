"""What Taskyard left in Redis under names without an installation's id, as it did before the names held one.

Plain RQ and other Taskyards may use these very keys, so nothing is removed but what is known to be an entry of ours: the
body says so, and the caller looks its id up in SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from redis import Redis

from workers.broker.connection import translated
from workers.broker.names import plain_queue
from workers.broker.queues import JOB_PREFIX, QUEUE_PREFIX, RUNNER, is_ours
from workers.domain.names import PRIORITIES, split_rq_id

TIMERS_KEY = "taskyard:timers"
_TIMER = "timer-schedule-"
_PAGE = 1000
_BODY = f'["{RUNNER}",'.encode()

KnownIds = Callable[[Sequence[str]], Collection[str]]  # those of these ids that are in SQL


def remove_entries(redis: Redis, queue: str, known_jobs: KnownIds) -> int:
    """Remove a queue's entries that are of these jobs; return how many. Entries of others keep their order. Raises Unavailable."""
    removed = 0
    for priority in PRIORITIES:
        key, start = QUEUE_PREFIX + plain_queue(queue, priority), 0
        with translated():
            while page := [one.decode(errors="replace") for one in redis.lrange(key, start, start + _PAGE - 1)]:
                ours = _with_our_body(redis, [entry for entry in page if is_ours(entry)])
                known = set(known_jobs([split_rq_id(entry)[0] for entry in ours]))
                gone = _remove(redis, key, [entry for entry in ours if split_rq_id(entry)[0] in known])
                start += len(page) - gone
                removed += gone
    return removed


def remove_timers(redis: Redis, known_schedules: KnownIds) -> int:
    """Remove the timers of these schedules; return how many. Raises Unavailable."""
    with translated():
        entries = [one.decode(errors="replace") for one in redis.zrange(TIMERS_KEY, 0, -1)]
        ids = [entry.removeprefix(_TIMER) for entry in entries if entry.startswith(_TIMER)]
        known = [_TIMER + one for one in known_schedules(ids)]
        if not known:
            return 0
        with redis.pipeline() as pipe:
            pipe.zrem(TIMERS_KEY, *known)
            pipe.delete(*(JOB_PREFIX + entry for entry in known))
            return int(pipe.execute()[0])


def _with_our_body(redis: Redis, entries: Sequence[str]) -> list[str]:
    with redis.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.hget(JOB_PREFIX + entry, "data")
        bodies = pipe.execute()
    return [entry for entry, body in zip(entries, bodies, strict=True) if body and body.startswith(_BODY)]


def _remove(redis: Redis, key: str, entries: Sequence[str]) -> int:
    with redis.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.lrem(key, 1, entry)
        return sum(map(int, pipe.execute()))
