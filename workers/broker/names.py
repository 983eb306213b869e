"""The names of Taskyard's keys, channels, queues and workers in Redis.

Other programs may use the same Redis: plain RQ, a second Taskyard, on the same database number or, since channels know no
numbers, on another one. So each name holds the id of the installation that it belongs to. The id is kept in SQL and read
when the first name is needed, because processes start while the database is away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

ROOT = "taskyard"


class RedisNames:
    """The names of one installation; `read_id` returns its id, and may raise Unavailable as long as it cannot."""

    def __init__(self, read_id: Callable[[], str]) -> None:
        self._read_id = read_id

    @cached_property
    def installation(self) -> str:
        """The id. Raises Unavailable."""
        return self._read_id()

    @cached_property
    def prefix(self) -> str:
        """What all names of the installation begin with: `taskyard:<id>:`. Raises Unavailable."""
        return f"{ROOT}:{self.installation}:"

    @cached_property
    def live(self) -> str:
        """The channel of live events. Raises Unavailable."""
        return self.key("live")

    def key(self, *parts: str) -> str:
        """Return the name of a key or channel of Taskyard's own. Raises Unavailable."""
        return self.prefix + ":".join(parts)

    def queue(self, queue: str, priority: str = "normal") -> str:
        """Return RQ's name of one priority of a queue: normal is the queue itself, others follow a colon. Raises Unavailable."""
        return self.prefix + plain_queue(queue, priority)

    def split_queue(self, name: str) -> tuple[str, str]:
        """Return the queue and the priority that an RQ queue of the installation stands for. Raises Unavailable."""
        queue, _, priority = name.removeprefix(self.prefix).partition(":")
        return queue, priority or "normal"

    def worker(self, name: str) -> str:
        """Return RQ's name of a worker. Raises Unavailable."""
        return self.key(name)


def plain_queue(queue: str, priority: str) -> str:
    """Return the name of one priority of a queue without the installation's prefix."""
    return queue if priority == "normal" else f"{queue}:{priority}"
