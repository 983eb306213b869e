"""A page of memory that a worker shares with one of its children: notices go in, the time limit comes out.

Neither side waits for the other, and no database or socket is involved.
"""

from __future__ import annotations

import mmap
import struct

CANCEL, STOPPING, INTERRUPT, TIME_LIMIT = 1, 2, 4, 8  # notices: bits of a byte
_LIMIT = struct.Struct("=dd")  # when an attempt began, by `uptime`, and how many seconds it may run
_NUMBER = struct.Struct("=I")
_NUMBER_AT = 4
_LIMIT_AT = 8


class SharedPage:
    """Made before the fork; closed by the worker when the child is gone."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _LIMIT_AT + _LIMIT.size)

    def add_notice(self, notice: int) -> None:
        """Leave a notice for the child; a signal has it looked at."""
        self._page[0] |= notice

    def notices(self, number: int) -> int:
        """Return the notices for the job of this number, as a sum; those for another job are none of its business."""
        is_of_job = _NUMBER.unpack_from(self._page, _NUMBER_AT)[0] == number
        return self._page[0] if is_of_job else 0

    def begin_job(self, number: int) -> None:
        """Have notices mean the job of this number from now on. The child may run it already."""
        self._page[0] = 0
        _NUMBER.pack_into(self._page, _NUMBER_AT, number)

    def write_limit(self, begun_at: float, seconds: float) -> None:
        """Say when the attempt began, by `uptime`, and how many seconds it may run."""
        limit = _LIMIT.pack(begun_at, seconds)
        # The first half says that the second is there.
        self._page[_LIMIT_AT + 8 :] = limit[8:]
        self._page[_LIMIT_AT : _LIMIT_AT + 8] = limit[:8]

    def clear_limit(self) -> None:
        """Say that the task has ended: what is left to do has no limit."""
        self._page[_LIMIT_AT : _LIMIT_AT + 8] = bytes(8)

    def limit(self) -> tuple[float, float] | None:
        """Return when the attempt began, by `uptime`, and how many seconds it may run; None while no task runs."""
        begun_at, seconds = _LIMIT.unpack(self._page[_LIMIT_AT:])
        return (begun_at, seconds) if begun_at else None

    def close(self) -> None:
        """Give the page up."""
        self._page.close()
