"""Which queues a worker takes from at this moment, and in what order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from workers.broker import queues as carriers
from workers.domain.errors import Unavailable
from workers.domain.names import SYSTEM_QUEUES
from workers.store import queues as queue_rows
from workers.yard import Yard

LOOK_SECONDS = 1.0  # new and paused queues are noticed after it


class ServedQueues:
    """The queues that were asked for, or all that people use; those that are paused are left out."""

    def __init__(self, yard: Yard, wanted: Sequence[str] | None) -> None:
        self._yard = yard
        self.wanted = tuple(wanted) if wanted else None
        self._names = yard.redis.names
        self._keys = carriers.ordered_keys(self._names, self.wanted or ("default",))
        self._looked_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether `keys` will look the queues up in SQL."""
        return time.monotonic() - self._looked_at >= LOOK_SECONDS

    def keys(self) -> list[str]:
        """Return the keys in the order of service: every high one, then normal, then low."""
        if self.is_due:
            self._look()
        return self._keys

    def look_again(self) -> None:
        """Forget what was seen: a queue has been found paused."""
        self._looked_at = 0.0

    def _look(self) -> None:
        # Only queues of Taskyard's own: another deployment's may stand on the same Redis.
        self._looked_at = time.monotonic()
        with contextlib.suppress(Unavailable), self._yard.database.read() as connection:
            rows = queue_rows.all_queues(connection)
            known = [row["name"] for row in rows if row["name"] not in SYSTEM_QUEUES] or ["default"]
            paused = {row["name"] for row in rows if row["paused_at"] is not None}
            # The first of equals changes, so that one that is never empty does not starve the others.
            start = int(self._looked_at) % len(known)
            served = self.wanted or (*known[start:], *known[:start])
            self._keys = carriers.ordered_keys(self._names, [name for name in served if name not in paused])
