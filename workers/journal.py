"""Memory in which a child keeps what its job said until it is stored, and which its worker reads after the child's death.

The memory is anonymous and shared by the fork, so writing to it costs no system call, and closing every descriptor does not
take it away. Each change becomes valid by one aligned store of a word: a process that is killed between two instructions
leaves the state before or after, never half a line. Everything is bounded; pages that are never written take no memory.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from workers.domain.log_bounds import LEVELS, LogState

STDOUT, STDERR, DESCRIPTORS = (
    0,
    1,
    2,
)  # where a text comes from; the last is whatever was written to descriptors 1 and 2
SOURCES = (STDOUT, STDERR, DESCRIPTORS)
NO_SOURCE = 255

INTAKE_BYTES = 65_536  # as much as a pipe holds
SLOT_BYTES = 40_960
_RING_BYTES = 8 * 1_048_576
_PROGRESS_BYTES = 8_192
_BANK_WORDS = 4
_START, _END, _RUN, _IN_KEY, _STATE, _FLIGHT, _PROGRESS, _INTAKE_TURN, _INTAKE_SIZE, _SLOTS = range(10)
_WORDS = 64
_BANKS_AT = _WORDS * 8
_STATES_AT = _BANKS_AT + len(SOURCES) * 2 * _BANK_WORDS * 8
_NAME_AT = _STATES_AT + 2 * 128
_PROGRESS_AT = _NAME_AT + 128
_INTAKE_AT = _PROGRESS_AT + 2 * _PROGRESS_BYTES
_SLOTS_AT = _INTAKE_AT + INTAKE_BYTES
_RING_AT = _SLOTS_AT + len(SOURCES) * 2 * SLOT_BYTES
_SIZE = _RING_AT + _RING_BYTES

_LEVEL_NUMBERS = {level: number for number, level in enumerate(LEVELS)}
_RECORD = struct.Struct("=IIBBQQQQ")  # bytes of text, new lines, level, source, number, at, turn, opened
_STATE_FORMAT = struct.Struct("=QQQQQQQ?")
_PROGRESS_FORMAT = struct.Struct("=IIIqqd")  # what is given, bytes of message and step, done, total, percent


def _blank() -> bytes:
    blank = bytearray(_PROGRESS_AT)
    for bank in range(len(SOURCES) * 2):  # each unfinished line is empty and of the first turn
        struct.pack_into("=Q", blank, _BANKS_AT + (bank * _BANK_WORDS + 1) * 8, 1)
    return bytes(blank)


_BLANK = _blank()


@dataclass(slots=True)
class Block:
    """Lines that were said at once. With `opened_us` the first of them replaces the line that was stored under that time.

    `number` counts the attempt's lines from 1 and, like `at_us` (microseconds since 1970), belongs to the first new line;
    each following line has the next number and microsecond.
    """

    number: int
    at_us: int
    level: str
    text: str
    count: int  # new lines
    source: int = NO_SOURCE
    turn: int = 0
    opened_us: int = 0
    size: int = 0  # bytes in the journal, 0 = not in it


class Slot:
    """The unfinished line of one source. It belongs to turn `turn` of the source: a block of that turn supersedes it."""

    def __init__(self, memory: memoryview, words: memoryview, source: int) -> None:
        self._words, self._selector = words, _SLOTS + source
        self._data: list[memoryview] = []
        self._banks: list[int] = []
        for bank in range(2):
            place = _SLOTS_AT + (source * 2 + bank) * SLOT_BYTES
            self._data.append(memory[place : place + SLOT_BYTES])
            self._banks.append(_BANKS_AT // 8 + (source * 2 + bank) * _BANK_WORDS)

    def replace(self, turn: int, opened_us: int, data: bytes) -> None:
        """Replace the line; what does not fit is cut."""
        other = 1 - self._words[self._selector]
        place, data = self._banks[other], data[:SLOT_BYTES]
        self._data[other][: len(data)] = data
        self._words[place], self._words[place + 1], self._words[place + 2] = len(data), turn, opened_us
        self._words[self._selector] = other

    def extend(self, data: bytes) -> None:
        """Add to the end of the line; what does not fit is cut."""
        bank = self._words[self._selector]
        place = self._banks[bank]
        size = self._words[place]
        end = size + len(data)
        if end > SLOT_BYTES:
            data, end = data[: SLOT_BYTES - size], SLOT_BYTES
        self._data[bank][size:end] = data
        self._words[place] = end

    def clear(self, turn: int) -> None:
        """Empty the line: a new turn begins."""
        place = self._banks[self._words[self._selector]]
        self._words[place], self._words[place + 1], self._words[place + 2] = 0, turn, 0

    def open(self, opened_us: int) -> None:
        """Note under which time the line is shown before it is finished."""
        self._words[self._banks[self._words[self._selector]] + 2] = opened_us

    def read(self) -> tuple[int, int, bytes]:
        """Return turn, `opened_us` and the line."""
        bank = self._words[self._selector]
        size, turn, opened_us = self._words[self._banks[bank] : self._banks[bank] + 3]
        return turn, opened_us, bytes(self._data[bank][: min(size, SLOT_BYTES)])


class Journal:
    """The memory of one child; written by the child alone and read by the worker once the child is dead."""

    def __init__(self) -> None:
        memory = self._memory = memoryview(mmap.mmap(-1, _SIZE))
        self._words = memory[: _WORDS * 8 + (_STATES_AT - _BANKS_AT)].cast("Q")
        self._ring = memory[_RING_AT:]
        self.intake = memory[_INTAKE_AT : _INTAKE_AT + INTAKE_BYTES]
        self.slots = tuple(Slot(memory, self._words, source) for source in SOURCES)

    def begin(self, job_id: str, attempt: int) -> None:
        """Forget everything and note whose words follow."""
        name = f"{job_id} {attempt}".encode()[:128]
        self._words[_RUN] = 0
        self._memory[:_PROGRESS_AT] = _BLANK
        self._memory[_NAME_AT : _NAME_AT + len(name)] = name
        self._words[_RUN] = 1

    def is_of(self, job_id: str, attempt: int) -> bool:
        """Return whether these are the words of this attempt."""
        name = bytes(self._memory[_NAME_AT : _NAME_AT + 128]).rstrip(b"\0")
        return bool(self._words[_RUN]) and name == f"{job_id} {attempt}".encode()

    # Lines.

    def append(self, block: Block, data: bytes) -> int:
        """Keep a block whose encoded text is `data`; its size here, 0 when there is no room."""
        level = _LEVEL_NUMBERS[block.level]
        numbers = (block.number, block.at_us, block.turn, block.opened_us)
        record = _RECORD.pack(len(data), block.count, level, block.source, *numbers) + data
        size = len(record)
        words = self._words
        end = words[_END]
        if end - words[_START] + size > _RING_BYTES:
            return 0
        start = end % _RING_BYTES
        if start + size <= _RING_BYTES:
            self._ring[start : start + size] = record
        else:
            fits = _RING_BYTES - start
            self._ring[start:] = record[:fits]
            self._ring[: size - fits] = record[fits:]
        words[_END] = end + size
        return size

    def release(self, size: int) -> None:
        """Give up the oldest blocks of this size together."""
        self._words[_START] += size

    def blocks(self) -> Iterator[Block]:
        """Read the blocks that are kept, oldest first; stops at what cannot be read."""
        place, end = self._words[_START], self._words[_END]
        while end - place >= _RECORD.size:
            head = _RECORD.unpack(self._get(place, _RECORD.size))
            length, count, level, source, number, at_us, turn, opened_us = head
            size = _RECORD.size + length
            if size > end - place or level >= len(LEVELS):
                return
            text = self._get(place + _RECORD.size, length).decode(errors="replace")
            yield Block(number, at_us, LEVELS[level], text, count, source, turn, opened_us, size)
            place += size

    @property
    def is_in_key(self) -> bool:
        """Whether the next line lies within a private key."""
        return bool(self._words[_IN_KEY])

    @is_in_key.setter
    def is_in_key(self, value: bool) -> None:
        self._words[_IN_KEY] = int(value)

    # What is stored of them.

    def plan(self, state: LogState) -> None:
        """Note the state that a transaction is about to reach."""
        self._write_state(1 - self._words[_STATE], state)
        self._words[_FLIGHT] = 1

    def settle(self) -> None:
        """Note that the transaction was committed."""
        self._words[_STATE] = 1 - self._words[_STATE]
        self._words[_FLIGHT] = 0

    def abandon(self) -> None:
        """Note that the transaction was not committed."""
        self._words[_FLIGHT] = 0

    def states(self) -> tuple[LogState, LogState | None]:
        """Return what is stored for certain, and the state that a transaction may have reached."""
        current = self._words[_STATE]
        return self._read_state(current), self._read_state(1 - current) if self._words[_FLIGHT] else None

    # Bytes from the descriptors: the kernel writes them here, so there is no moment at which they are nowhere.

    def receive(self, turn: int) -> None:
        """Note for which turn of DESCRIPTORS bytes are about to come."""
        self._words[_INTAKE_TURN] = turn

    def received(self, size: int) -> None:
        """Note how many bytes have come."""
        self._words[_INTAKE_SIZE] = size

    def handled(self) -> None:
        """Empty the intake: its bytes are in blocks and in the slot."""
        size = self._words[_INTAKE_SIZE]
        self.intake[:size] = bytes(size)
        self._words[_INTAKE_SIZE] = 0

    def unhandled(self) -> tuple[int, bytes]:
        """Return turn and bytes of the intake."""
        size = min(self._words[_INTAKE_SIZE], INTAKE_BYTES)
        return self._words[_INTAKE_TURN], bytes(self.intake[:size]) if size else bytes(self.intake).rstrip(b"\0")

    # Progress.

    def write_progress(
        self, done: int | None, total: int | None, percent: float | None, message: str | None, step: str | None
    ) -> None:
        """Keep the progress reported last; `message` and `step` are masked and have at most 1,000 and 200 characters."""
        first = message.encode() if message is not None else b""
        second = step.encode() if step is not None else b""
        given = (done is not None) | (total is not None) << 1 | (percent is not None) << 2
        given |= (message is not None) << 3 | (step is not None) << 4
        head = _PROGRESS_FORMAT.pack(given, len(first), len(second), done or 0, total or 0, percent or 0.0)
        bank = 2 if self._words[_PROGRESS] == 1 else 1
        place = _PROGRESS_AT + (bank - 1) * _PROGRESS_BYTES
        data = head + first + second
        self._memory[place : place + len(data)] = data
        self._words[_PROGRESS] = bank

    def read_progress(self) -> dict[str, object]:
        """Return the progress reported last, as the columns of a job; empty when there was none."""
        bank = self._words[_PROGRESS]
        if bank not in (1, 2):
            return {}
        place = _PROGRESS_AT + (bank - 1) * _PROGRESS_BYTES
        data = bytes(self._memory[place : place + _PROGRESS_BYTES])
        given, first, second, done, total, percent = _PROGRESS_FORMAT.unpack_from(data)
        message = data[_PROGRESS_FORMAT.size : _PROGRESS_FORMAT.size + first].decode(errors="replace")
        step = data[_PROGRESS_FORMAT.size + first : _PROGRESS_FORMAT.size + first + second].decode(errors="replace")
        found: dict[str, object] = {"done": done if given & 1 else None, "total": total if given & 2 else None}
        found["progress"] = percent if given & 4 else None
        return found | ({"message": message} if given & 8 else {}) | ({"step": step} if given & 16 else {})

    def _get(self, place: int, size: int) -> bytes:
        start = place % _RING_BYTES
        first = bytes(self._ring[start : start + size])
        return first + bytes(self._ring[: size - len(first)])

    def _write_state(self, bank: int, state: LogState) -> None:
        numbers = (state.saved, state.last_us, state.head_lines, state.head_bytes, state.head_us, state.tail_lines)
        _STATE_FORMAT.pack_into(self._memory, _STATES_AT + bank * 128, *numbers, state.left_out, state.is_cut)

    def _read_state(self, bank: int) -> LogState:
        return LogState(*_STATE_FORMAT.unpack_from(self._memory, _STATES_AT + bank * 128))
