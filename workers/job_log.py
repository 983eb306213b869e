"""The log of one attempt: texts become lines, which wait in the journal until they are stored.

Lines are masked when they are stored, not before: of a flood only what is kept is worth it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from workers.domain.log_bounds import LogLine, LogState, Waiting
from workers.domain.masking import MASK
from workers.domain.texts import storable
from workers.journal import DESCRIPTORS, NO_SOURCE, SOURCES, Block, Journal
from workers.services.job_logs import MAX_MASKED
from workers.unfinished import LONGEST_UNFINISHED, Unfinished, last_state, split_bytes, split_text

MAX_TEXT = 1_000_000  # characters that are taken at once
FULL_LINES = 500
SHOWN_SECONDS = 0.2  # an unfinished line that stands for so long is shown
_KEY_BEGINS, _KEY_ENDS, _KEY = "-----BEGIN ", "-----END ", "PRIVATE KEY"


class JobLog:
    """Takes text from any thread. One thread at a time may store: `take`, then `stored` or `kept_back`."""

    def __init__(self, journal: Journal, wake: Callable[[], None]) -> None:
        self._journal, self._wake = journal, wake
        self._lock = threading.RLock()
        self._is_recorded = True
        self._blocks: deque[Block] = deque()
        self._flight: list[Block] = []
        self._line_count = 0  # of those that wait
        self._number = 0
        self._state = LogState()
        self._room = self._state.room
        self._unfinished = [Unfinished() for _ in SOURCES]
        self._early: set[int] = set()  # threads whose unfinished lines were kept as they were

    @property
    def is_full(self) -> bool:
        """Whether many lines wait that belong to the head."""
        return self._line_count >= FULL_LINES and not self._state.is_cut

    @property
    def is_cut(self) -> bool:
        """Whether the head is complete, so that lines may be left out."""
        return self._state.is_cut

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be stored, now or soon."""
        return bool(self._blocks) or any(one.line != one.shown for one in self._unfinished if one.text or one.data)

    # Taking.

    def write(self, source: int, text: str) -> None:
        """Take text of a stream: what it completes is kept, a carriage return takes the unfinished line back."""
        thread = threading.get_ident()
        with self._lock:
            if thread in self._early:
                self._early.discard(thread)
                text = text.removeprefix("\n")
            if not text:
                return
            line = self._unfinished[source]
            if not line.text:
                line.thread = thread
            elif line.thread != thread and "\r" not in text:
                self._write_beside(thread, text)
                return
            if "\n" not in text and "\r" not in text and len(line.text) + len(text) <= LONGEST_UNFINISHED:
                self._extend(source, line, text)
                return
            if text == "\n" and "\r" not in line.text:  # the end of a `print`
                self._complete(source, line, line.text)
                line.turn += 1
                self._journal.slots[source].clear(line.turn)
                line.text = ""
                return
            for start in range(0, len(text), MAX_TEXT):
                self._write(source, line, text[start : start + MAX_TEXT])

    def _write_beside(self, thread: int, text: str) -> None:
        # `print` writes a text and the end of its line apart: those of two threads must not become one line.
        if not text.endswith("\n"):
            self._early.add(thread)  # its line ends here, not with what it writes next
        self.add(text.removesuffix("\n"), "print")

    def receive(self, descriptor: int) -> None:
        """Read what is in a pipe, into the journal, and take it."""
        with self._lock:
            turn = self._unfinished[DESCRIPTORS].turn
            self._journal.receive(turn)
            size = os.readv(descriptor, [self._journal.intake])
            self._journal.received(size)
            try:
                self.write_bytes(bytes(self._journal.intake[:size]))
            finally:
                self._journal.handled()

    def write_bytes(self, data: bytes) -> None:
        """Take what came through the descriptors."""
        with self._lock:
            line = self._unfinished[DESCRIPTORS]
            lines, rest = split_bytes(line.data + data)
            if lines is not None:
                self._complete(DESCRIPTORS, line, lines.decode(errors="replace"))
            line.data = rest
            line.turn += 1
            self._journal.slots[DESCRIPTORS].replace(line.turn, line.opened_us, rest)
            if rest:
                line.note_time()
                self._wake()

    def add(self, text: str, level: str) -> None:
        """Keep lines as they are."""
        with self._lock:
            for start in range(0, max(1, len(text)), MAX_TEXT):
                self._keep(text[start : start + MAX_TEXT], level)

    def finish(self) -> None:
        """Make lines of what is unfinished."""
        with self._lock:
            for source, line in enumerate(self._unfinished):
                if line.line or line.opened_us:
                    self._complete(source, line, line.line)
                    line.turn += 1
                    self._journal.slots[source].replace(line.turn, 0, b"")
                line.text, line.data = "", b""

    # Storing.

    def take(self) -> Waiting | None:
        """Take what waits; None when nothing does."""
        with self._lock:
            lines = list(_exploded(self._blocks, self._state))
            updates, shown = self._open_lines(lines)
            if not self._blocks and not updates:
                return None
            self._flight = list(self._blocks)
            self._blocks.clear()
            self._line_count = 0
            size = sum(one.size for one in self._flight)
            return Waiting([*lines, *updates], self._state, size, shown)

    def storing(self, state: LogState) -> None:
        """Note the state that a transaction is about to reach."""
        self._journal.plan(state)

    def stored(self, waiting: Waiting, state: LogState) -> None:
        """Note that the transaction was committed."""
        with self._lock:
            self._journal.settle()
            self._journal.release(waiting.size)
            self._flight, self._state, self._room = [], state, state.room
            for source, text in waiting.shown:
                self._unfinished[source].shown = text
            self._trim()

    def kept_back(self) -> None:
        """Note that it failed: the lines wait again."""
        with self._lock:
            self._journal.abandon()
            self._blocks.extendleft(reversed(self._flight))
            self._line_count += sum(one.count for one in self._flight)
            self._flight = []
            self._trim()

    def _open_lines(self, lines: list[LogLine]) -> tuple[list[LogLine], list[tuple[int, str]]]:
        # A line that stands unfinished for a while is shown: it gets its place once and then only changes.
        updates: list[LogLine] = []
        shown: list[tuple[int, str]] = []
        now = time.monotonic()
        for source, one in enumerate(self._unfinished):
            if not (one.text or one.data) or one.line == one.shown:
                continue
            text = one.line
            if one.opened_us:
                updates.append(LogLine(0, one.opened_us, "print", self._look_at(text)[0], replaces=True))
            elif now - one.since < SHOWN_SECONDS:
                continue
            else:
                lines.append(self._open(source, one, self._look_at(text)[0], lines))
            shown.append((source, text))
        return updates, shown

    def _open(self, source: int, line: Unfinished, text: str, before: Sequence[LogLine]) -> LogLine:
        last_us = before[-1].at_us if before else self._state.last_us
        block = Block(self._next_number(1), max(time.time_ns() // 1000, last_us + 2), "print", text, 1)
        line.opened_us = block.at_us
        self._journal.slots[source].open(block.at_us)
        self._append(block)
        return LogLine(block.number, block.at_us, "print", text)

    # Keeping.

    def _extend(self, source: int, line: Unfinished, text: str) -> None:
        if line.text.endswith("\r"):
            line.text = text
            self._journal.slots[source].replace(line.turn, line.opened_us, _encoded(text))
        else:
            line.text += text
            self._journal.slots[source].extend(_encoded(text))
        line.note_time()
        self._wake()

    def _write(self, source: int, line: Unfinished, text: str) -> None:
        lines, rest = split_text(line.text + text)
        if lines is not None:
            self._complete(source, line, lines)
            line.turn += 1
            self._journal.slots[source].clear(line.turn)
        line.text = rest
        if rest:
            self._journal.slots[source].replace(line.turn, line.opened_us, _encoded(rest))
            line.note_time()
            self._wake()

    def _complete(self, source: int, line: Unfinished, text: str) -> None:
        if "\r" in text:
            text = "\n".join(map(last_state, text.split("\n")))
        self._keep(text, "print", source, line.turn, line.opened_us)
        line.opened_us, line.since, line.shown = 0, 0.0, ""

    def _keep(self, text: str, level: str, source: int = NO_SOURCE, turn: int = 0, opened_us: int = 0) -> None:
        if self._journal.is_in_key or _KEY in text:
            text = "\n".join(map(self._masked_key, text.split("\n")))
        if len(text) > MAX_MASKED:
            text = "\n".join(line[: MAX_MASKED + 1] for line in text.split("\n"))
        count = text.count("\n") + 1 - bool(opened_us)
        at_us = time.time_ns() // 1000
        self._append(Block(self._next_number(count), at_us, level, text, count, source, turn, opened_us))

    def _append(self, block: Block) -> None:
        if self._is_recorded:
            data = _encoded(block.text)
            size = self._journal.append(block, data)
            while not size and self._blocks and not self._flight:
                self._drop()
                size = self._journal.append(block, data)
            block.size = size
        self._blocks.append(block)
        self._line_count += block.count
        if self._line_count > self._room:
            self._trim()
        self._wake()

    def _trim(self) -> None:
        while self._blocks and self._line_count - self._blocks[0].count >= self._room:
            if self._flight and self._blocks[0].size:
                return  # the journal gives up its oldest blocks first, and those are being stored
            self._drop()

    def _drop(self) -> None:
        block = self._blocks.popleft()
        self._journal.release(block.size)
        self._line_count -= block.count

    def _masked_key(self, line: str) -> str:
        text, self._journal.is_in_key = self._look_at(line)
        return text

    def _look_at(self, line: str) -> tuple[str, bool]:
        # A private key is printed line by line: what lies between its ends is masked as one.
        was_in_key = self._journal.is_in_key
        begins = _KEY_BEGINS in line and _KEY in line
        is_in_key = (was_in_key or begins) and _KEY_ENDS not in line
        return (MASK if was_in_key and is_in_key else line), is_in_key

    def _next_number(self, count: int) -> int:
        first = self._number + 1
        self._number += count
        return first


def _exploded(blocks: Iterable[Block], state: LogState) -> Iterator[LogLine]:
    # Each line has a time of its own, by which it is found again; one is left free for the line of the gap.
    last_us = state.last_us + 1
    for block in blocks:
        lines = block.text.split("\n")
        if block.opened_us:
            yield LogLine(0, block.opened_us, block.level, lines.pop(0), replaces=True)
        for place, line in enumerate(lines):
            last_us = max(block.at_us, last_us + 1)
            yield LogLine(block.number + place, last_us, block.level, line)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return storable(text).encode()
