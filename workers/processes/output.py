"""What passes from a child to its worker besides its answers: the journal, and the pipe behind descriptors 1 and 2.

The worker makes both before it forks the child and holds the reading end too, so that what a dead child had written, or had
not read yet, is still there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.domain.log_bounds import Waiting
from workers.journal import Journal
from workers.recovered_log import RecoveredLog

_MOST_LEFT = 1_048_576  # bytes; a pipe holds 64 kB, more can only come from a process that still writes


@dataclass(frozen=True, slots=True)
class Unstored:
    """What an attempt said that is not stored: lines, None for none, and the columns of its last progress."""

    lines: Waiting | None
    progress: dict[str, Any]


class Output:
    """The worker's and the child's hold on it; made once for each child."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.reading, self.writing = os.pipe()
        self._rest = b""

    def keep_reading_end(self) -> None:
        """Give the writing end up, in the worker: the pipe ends with the last process that writes to it."""
        os.close(self.writing)
        self.writing = -1

    def recover(self, job_id: str, attempt: int, is_stored: Callable[[int], bool]) -> Unstored:
        """Return what an attempt had said when its process died, which must be gone with all that it started."""
        self._read_rest()
        if not self.journal.is_of(job_id, attempt):
            return Unstored(None, {})
        log = RecoveredLog(self.journal, is_stored, self._rest)
        return Unstored(log.take(), self.journal.read_progress())

    def close(self) -> None:
        """Give the pipe up."""
        for descriptor in (self.reading, self.writing):
            if descriptor >= 0:
                os.close(descriptor)
        self.reading = self.writing = -1

    def _read_rest(self) -> None:
        # Kept, since the database may be away and the call be repeated.
        os.set_blocking(self.reading, False)
        with contextlib.suppress(BlockingIOError):
            while len(self._rest) < _MOST_LEFT and (part := os.read(self.reading, 65_536)):
                self._rest += part
