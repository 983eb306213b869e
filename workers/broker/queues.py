"""The queues in Redis: RQ's own structures, written and read with as few round trips as can be.

An entry is an RQ job named `<job>-<attempt>` that carries nothing but that name: the row in SQL holds all the rest, so
stock RQ tools list and show our queues, and a lost or doubled entry does no harm.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError
from rq.command import PUBSUB_CHANNEL_TEMPLATE, send_command
from rq.job import Job
from rq.queue import Queue
from rq.suspension import WORKERS_SUSPENDED
from rq.worker import BaseWorker

from workers.broker.connection import QuickRedis, translated
from workers.broker.names import RedisNames
from workers.domain.names import DEFAULT_TIMEOUT_SECONDS, PRIORITIES, rq_id
from workers.store.types import Row

RUNNER = "workers.processes.child.run_attempt"
QUEUE_PREFIX = Queue.redis_queue_namespace_prefix
QUEUES_KEY = Queue.redis_queues_keys
JOB_PREFIX = Job.redis_job_namespace_prefix
WORKER_PREFIX, WORKERS_KEY = BaseWorker.redis_worker_namespace_prefix, BaseWorker.redis_workers_keys
COMMANDS_CHANNEL, SUSPENDED_KEY = PUBSUB_CHANNEL_TEMPLATE, WORKERS_SUSPENDED
_BATCH = 500
_PAGE = 5000
_LONGEST = 10**9
_ENTRY = re.compile(r"[0-9a-f]+(-[0-9a-f]+){4}-[0-9]{1,9}", re.ASCII)

# An entry that still waits is left as it is; one whose worker took it and died, or that is gone, is pushed (again).
# Entries come in groups of one queue, description and time limit; what is to be told goes out in the same trip.
_PUSH = """
local pushed, words = 0, tonumber(ARGV[5])
local at = words + 6
while at < #ARGV do
  local origin, description, timeout, last = ARGV[at], ARGV[at + 1], ARGV[at + 2], at + 3 + tonumber(ARGV[at + 3])
  local queue, waiting = 'rq:queue:' .. origin, {}
  for i = at + 4, last do
    local id = ARGV[i]
    local key = ARGV[1] .. id
    local status = redis.call('HGET', key, 'status')
    if status ~= 'queued' then
      if status then redis.call('DEL', key) end
      local job, attempt = string.match(id, '^(.*)-(%d+)$')
      redis.call('HSET', key, 'data', '["' .. ARGV[2] .. '",null,["' .. job .. '",' .. attempt .. '],{}]',
        'origin', origin, 'description', description, 'timeout', timeout, 'status', 'queued',
        'created_at', ARGV[3], 'enqueued_at', ARGV[3])
      waiting[#waiting + 1] = id
    end
  end
  if #waiting > 0 then
    if redis.call('RPUSH', queue, unpack(waiting)) == #waiting then redis.call('SADD', 'rq:queues', queue) end
  end
  pushed, at = pushed + #waiting, last + 1
end
for i = 6, words + 5 do redis.call('PUBLISH', ARGV[4], ARGV[i]) end
return pushed
"""

# Takes the first entry in the order of KEYS and marks who took it, unless it is a job of somebody else; the entries that
# ended meanwhile are cleared and published in the same trip.
_TAKE = """
local words = tonumber(ARGV[4])
for i = 5, words + 4 do redis.call('PUBLISH', ARGV[3], ARGV[i]) end
for i = words + 5, #ARGV do redis.call('DEL', ARGV[i]) end
for i = 1, #KEYS do
  local id = redis.call('LPOP', KEYS[i])
  if id then
    local job = 'rq:job:' .. id
    if string.match(id, '^%x+%-%x+%-%x+%-%x+%-%x+%-%d+$') and redis.call('EXISTS', job) == 1 then
      redis.call('HSET', job, 'status', 'started', 'worker_name', ARGV[1], 'started_at', ARGV[2])
    end
    return {KEYS[i], id}
  end
end
return false
"""


class _Script:
    def __init__(self, text: str) -> None:
        for written, name in (("rq:queues", QUEUES_KEY), ("rq:queue:", QUEUE_PREFIX), ("rq:job:", JOB_PREFIX)):
            text = text.replace(f"'{written}'", f"'{name}'")  # RQ_KEY_PREFIX may have renamed them
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(
        self, redis: QuickRedis, keys: Sequence[Any], args: Sequence[Any], within_seconds: float | None = None
    ) -> Any:
        try:
            return redis.bare("EVALSHA", self._sha, len(keys), *keys, *args, within_seconds=within_seconds)
        except NoScriptError:
            return redis.bare("EVAL", self._text, len(keys), *keys, *args, within_seconds=within_seconds)


_push, _take = _Script(_PUSH), _Script(_TAKE)


@dataclass(frozen=True, slots=True)
class PushRef:
    """What an entry needs to know of its row."""

    job_id: str
    attempt: int
    queue: str
    priority: str
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    task: str = ""

    @classmethod
    def of(cls, row: Row) -> PushRef:
        """Take it from a row of `jobs`."""
        return cls(
            row["id"], row["attempt"], row["queue"], row["priority"], row["timeout_seconds"], row.get("task", "")
        )

    @property
    def rq_id(self) -> str:
        """The entry's name in RQ."""
        return rq_id(self.job_id, self.attempt)


def push(
    redis: QuickRedis, refs: Sequence[PushRef], words: Sequence[bytes] = (), within_seconds: float | None = None
) -> int:
    """Put entries at the end of their queues, then publish these words; tells how many entries were not there yet.

    `within_seconds` limits the wait for each answer. Raises Unavailable; the entries may be there all the same.
    """
    pushed = 0
    with translated():
        for start in range(0, len(refs), _BATCH):
            told = words if start + _BATCH >= len(refs) else ()
            args: list[Any] = [JOB_PREFIX, RUNNER, stamp(), redis.names.live, len(told), *told]
            for shared, group in groupby(refs[start : start + _BATCH], partial(_shared, redis.names)):
                ids = [ref.rq_id for ref in group]
                args += [*shared, len(ids), *ids]
            pushed += int(_push(redis, (), args, within_seconds))
    return pushed


def put_back(redis: QuickRedis, ref: PushRef) -> None:
    """Put an entry that was taken back at the front of its queue. Raises Unavailable."""
    key = QUEUE_PREFIX + redis.names.queue(ref.queue, ref.priority)
    with translated(), redis.pipeline() as pipe:
        pipe.hset(JOB_PREFIX + ref.rq_id, mapping=_hash(redis.names, ref))
        pipe.lpush(key, ref.rq_id)
        pipe.sadd(QUEUES_KEY, key)
        pipe.execute()


def take(
    redis: QuickRedis, keys: Sequence[str], worker: str, ended: Sequence[str], words: Sequence[bytes]
) -> tuple[str, str] | None:
    """Take the next entry in the order of these queue keys: its queue's key and its id, or None when all are empty.

    Entries that have ended are forgotten and words are published on the way.
    """
    told = [worker, stamp(), redis.names.live, len(words), *words, *(JOB_PREFIX + one for one in ended)]
    taken = _take(redis, keys, told)
    return (taken[0].decode(), taken[1].decode()) if taken else None


def mark_taken(redis: Redis, entry: str, worker: str) -> None:
    """Write who took an entry that was popped by a blocking wait; a job of somebody else is left as it is."""
    if is_ours(entry):
        redis.hset(JOB_PREFIX + entry, mapping={"status": "started", "worker_name": worker, "started_at": stamp()})


def is_ours(entry: str) -> bool:
    """Return whether an entry has the form `<job>-<attempt>`; RQ's own ids have none of it."""
    return _ENTRY.fullmatch(entry) is not None


def leave(redis: Redis, entry: str, name: str) -> None:
    """Put somebody else's entry at the end of the queue that it was taken from; its job has not been touched."""
    redis.rpush(QUEUE_PREFIX + name, entry)


def forget(redis: Redis, entries: Sequence[str]) -> None:
    """Delete entries that have ended."""
    if entries:
        redis.delete(*(JOB_PREFIX + one for one in entries))


def forget_worker(redis: Redis, key: str, is_dead: Callable[[str, int], bool]) -> None:
    """Delete a worker's registration when the worker that left it, known by host and process id, is dead."""
    host, pid = redis.hmget(key, "hostname", "pid")
    if host and pid and is_dead(host.decode(), int(pid)):
        redis.delete(key)


def tell_worker(redis: Redis, key: str, fields: Mapping[str, Any], ttl_seconds: int) -> None:
    """Write what RQ's tools show of a worker, and for how long it holds."""
    with redis.pipeline() as pipe:
        pipe.hset(key, mapping={name: value for name, value in fields.items() if value is not None})
        for name, value in fields.items():
            if value is None:
                pipe.hdel(key, name)
        pipe.expire(key, ttl_seconds)
        pipe.execute()


def remove(redis: QuickRedis, refs: Sequence[PushRef]) -> None:
    """Take entries off their queues. Raises Unavailable.

    Of more than a few only the body goes: RQ and our workers pass over a name without one, and searching a long list
    for each name would block Redis.
    """
    with translated(), redis.pipeline(transaction=False) as pipe:
        for ref in refs:
            pipe.delete(JOB_PREFIX + ref.rq_id)
            if len(refs) <= 10:
                pipe.lrem(QUEUE_PREFIX + redis.names.queue(ref.queue, ref.priority), 1, ref.rq_id)
        pipe.execute()


def listed(redis: QuickRedis, queue: str) -> set[str]:
    """Tell every entry that stands on a queue, of any priority, and still has its body. Raises Unavailable."""
    found: set[str] = set()
    with translated():
        for priority in PRIORITIES:
            key, start = QUEUE_PREFIX + redis.names.queue(queue, priority), 0
            while names := [one.decode() for one in redis.lrange(key, start, start + _PAGE - 1)]:
                with redis.pipeline(transaction=False) as pipe:
                    for one in names:
                        pipe.exists(JOB_PREFIX + one)
                    found.update(one for one, there in zip(names, pipe.execute(), strict=True) if there)
                start += _PAGE
    return found


def depths(redis: Redis, names: Sequence[str]) -> dict[str, int]:
    """Tell how many entries stand on these RQ queues, in one trip. Raises Unavailable."""
    with translated(), redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(QUEUE_PREFIX + name)
        return dict(zip(names, map(int, pipe.execute()), strict=True))


def ordered_keys(names: RedisNames, queues: Sequence[str]) -> list[str]:
    """List the keys in the order in which a worker serves them: every high one, then normal, then low. Raises Unavailable."""
    return [QUEUE_PREFIX + names.queue(queue, priority) for priority in PRIORITIES for queue in queues]


def stop(redis: QuickRedis, worker: str, entry: str) -> None:
    """Tell a worker to stop what it runs, by RQ's own command. Raises Unavailable."""
    with translated():
        send_command(redis, redis.names.worker(worker), "stop-job", job_id=entry)


def shutdown(redis: QuickRedis, worker: str) -> None:
    """Tell a worker to finish its job and end, by RQ's own command. Raises Unavailable."""
    with translated():
        send_command(redis, redis.names.worker(worker), "shutdown")


def _shared(names: RedisNames, ref: PushRef) -> tuple[str, str, int]:
    # One row with a senseless limit must not keep the others that are pushed with it.
    timeout = int(min(max(1.0, ref.timeout_seconds), _LONGEST))
    return names.queue(ref.queue, ref.priority), ref.task or "job", timeout


def _hash(names: RedisNames, ref: PushRef) -> dict[str, Any]:
    origin, description, timeout = _shared(names, ref)
    now = stamp()
    data = json.dumps([RUNNER, None, [ref.job_id, ref.attempt], {}])
    fields = {"data": data, "origin": origin, "description": description, "timeout": timeout, "status": "queued"}
    return {**fields, "created_at": now, "enqueued_at": now, "worker_name": ""}


def stamp() -> str:
    """Tell the time now as RQ writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
