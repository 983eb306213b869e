"""What is kept of a long log: its head, its tail, and a line between them that says how much was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEVELS = ("debug", "info", "print", "warning", "error")  # from the least severe
GAP_LEVEL = "gap"  # of the line between head and tail
HEAD_LINES = 8_000
HEAD_BYTES = 2_500_000  # of UTF-8
TAIL_LINES = 2_000
MAX_LINE = 2_000  # characters of one line; so the tail is bounded in bytes too


class LogLine(NamedTuple):
    """One line of an attempt's log, counted from 1; `at_us` (microseconds since 1970) differs from line to line.

    One that `replaces` takes the place of the line that was stored under its `at_us`; its number is 0.
    """

    number: int
    at_us: int
    level: str
    text: str
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class LogState:
    """What is stored of an attempt's log."""

    saved: int = 0  # number of the last line that was stored or left out
    last_us: int = 0  # its time
    head_lines: int = 0
    head_bytes: int = 0
    head_us: int = 0  # the time of the last line of the head
    tail_lines: int = 0
    left_out: int = 0
    is_cut: bool = False  # the head takes no more lines

    @property
    def room(self) -> int:
        """How many lines may wait to be stored before the oldest of them are left out."""
        return TAIL_LINES if self.is_cut else HEAD_LINES - self.head_lines + TAIL_LINES


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lines that are to be stored now, unmasked, in their order, and what is stored so far.

    `size` is what they take in the journal, `shown` the unfinished lines among them by source.
    """

    lines: Sequence[LogLine]
    state: LogState
    size: int = 0
    shown: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class LogPlan:
    """What a transaction changes: `changed` first, then the `removed` oldest lines of the tail go, then `added` come."""

    added: Sequence[LogLine]
    changed: Sequence[LogLine]
    removed: int
    before: LogState
    after: LogState

    @property
    def gap(self) -> str | None:
        """The line between head and tail; None when nothing was left out, or nothing more than before."""
        return gap_words(self.after.left_out) if self.after.left_out > self.before.left_out else None


def gap_words(left_out: int) -> str:
    """Return the line that stands for what was left out."""
    return f"… {left_out:,} {'line' if left_out == 1 else 'lines'} left out …"


def plan_waiting(waiting: Waiting, show: Callable[[str], str]) -> LogPlan:
    """Plan what a transaction stores, each line as `show` makes it; what would be left out anyway is not shown."""
    lines = waiting.lines
    if waiting.state.is_cut:
        new = [line for line in lines if not line.replaces]
        lines = [*new[-TAIL_LINES:], *(line for line in lines if line.replaces)]
    return plan_log(
        waiting.state,
        [LogLine(number, at_us, level, show(text), replaces) for number, at_us, level, text, replaces in lines],
    )


def plan_log(state: LogState, lines: Sequence[LogLine]) -> LogPlan:
    """Decide what is stored of further lines, which are given in their order; those whose numbers are missing were dropped."""
    new = [line for line in lines if not line.replaces]
    texts = {line.at_us: line for line in lines if line.replaces}
    if not new:
        return LogPlan((), list(texts.values()), 0, state, state)
    # A line may change before it was ever stored.
    if texts:
        new = [line._replace(text=texts.pop(line.at_us).text) if line.at_us in texts else line for line in new]
    dropped = new[0].number - state.saved - 1
    missing = new[-1].number - state.saved - len(new)
    head = [] if dropped or state.is_cut else _head(state, new)
    rest = new[len(head) :]
    tail = rest[-TAIL_LINES:]
    surplus = max(0, state.tail_lines + len(tail) - TAIL_LINES)
    removed = state.tail_lines if dropped else min(state.tail_lines, surplus)
    after = LogState(
        saved=new[-1].number,
        last_us=new[-1].at_us,
        head_lines=state.head_lines + len(head),
        head_bytes=state.head_bytes + _bytes(head),
        head_us=head[-1].at_us if head else state.head_us,
        tail_lines=state.tail_lines - removed + len(tail),
        left_out=state.left_out + missing + removed + len(rest) - len(tail),
        is_cut=bool(state.is_cut or missing or rest),
    )
    return LogPlan([*head, *tail], list(texts.values()), removed, state, after)


def _head(state: LogState, lines: Sequence[LogLine]) -> Sequence[LogLine]:
    size = state.head_bytes
    for place, line in enumerate(lines[: HEAD_LINES - state.head_lines]):
        size += len(line.text.encode())
        if size > HEAD_BYTES:
            return lines[:place]
    return lines[: HEAD_LINES - state.head_lines]


def _bytes(lines: Sequence[LogLine]) -> int:
    return sum(len(line.text.encode()) for line in lines)
