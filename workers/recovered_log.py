"""What an attempt had said when its process died, read from the journal by the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workers.domain.log_bounds import LogState
from workers.job_log import JobLog
from workers.journal import DESCRIPTORS, SOURCES, STDERR, STDOUT, Journal
from workers.unfinished import Unfinished, split_bytes


class RecoveredLog(JobLog):
    """The log of an attempt whose process is dead; `rest` is what was left in its pipe.

    `is_stored` looks whether the line of a time (microseconds) was stored: it decides what is true when the process died
    while it committed.
    """

    def __init__(self, journal: Journal, is_stored: Callable[[int], bool], rest: bytes) -> None:
        super().__init__(journal, lambda: None)
        self._is_recorded = False
        state, possible = journal.states()
        if possible is not None and possible.last_us > state.last_us and is_stored(possible.last_us):
            state = possible
        self._restore_lines(state)
        for data in (self._restore_unfinished(), rest):
            if data:
                self.write_bytes(data)
        self.finish()

    def _restore_lines(self, state: LogState) -> None:
        self._state, self._room, self._number = state, state.room, state.saved
        for block in self._journal.blocks():
            last = block.number + block.count - 1
            if block.count and last <= state.saved:
                continue  # it was stored, but not given up yet
            self._blocks.append(replace(block, size=0))
            self._line_count += block.count
            self._number = max(self._number, last)
        self._trim()

    def _restore_unfinished(self) -> bytes:
        """Restore the unfinished lines; the bytes that were read and not taken yet."""
        turns = dict.fromkeys(SOURCES, 0)
        for block in self._journal.blocks():
            turns[block.source] = max(turns.get(block.source, 0), block.turn)
        for source in (STDOUT, STDERR):
            turn, opened_us, data = self._journal.slots[source].read()
            if turn > turns[source]:
                self._unfinished[source] = Unfinished(data.decode(errors="replace"), b"", turn, opened_us)
        turn, opened_us, data = self._journal.slots[DESCRIPTORS].read()
        received, more = self._journal.unhandled()
        if received < turn:
            more = b""
        elif turn <= turns[DESCRIPTORS]:  # its lines were kept, what follows the last of them was not yet
            turn, opened_us, data, more = turn + 1, 0, split_bytes(data + more)[1], b""
        self._unfinished[DESCRIPTORS] = Unfinished("", data, turn, opened_us)
        return more
