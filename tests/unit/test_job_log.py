"""The log of an attempt: what is kept of it, and that a kill at any moment neither loses nor doubles a line."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from workers.domain import log_bounds
from workers.domain.log_bounds import HEAD_BYTES, HEAD_LINES, TAIL_LINES, LogLine, LogState, plan_log, plan_waiting
from workers.domain.masking import MASK
from workers.job_log import JobLog
from workers.journal import DESCRIPTORS, STDERR, STDOUT, Journal
from workers.recovered_log import RecoveredLog
from workers.unfinished import last_state

JOB = "018f0000-0000-7000-8000-000000000000"


class Table:
    """What SQL would hold: the lines by their time, in their order."""

    def __init__(self) -> None:
        self.rows: list[LogLine] = []

    def store(self, log: JobLog) -> None:
        waiting = log.take()
        if waiting is None:
            return
        plan = plan_waiting(waiting, lambda text: text)
        for line in plan.changed:
            self.rows = [line._replace(number=one.number) if one.at_us == line.at_us else one for one in self.rows]
        head = [line for line in plan.added if line.at_us <= plan.after.head_us]
        tail = list(plan.added[len(head) :])
        start = plan.before.head_lines
        kept = self.rows[start + plan.removed :]
        self.rows = [*self.rows[:start], *head, *kept, *tail]
        log.storing(plan.after)
        log.stored(waiting, plan.after)

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]


@dataclass
class Opened:
    journal: Journal
    log: JobLog
    table: Table


@pytest.fixture
def opened() -> Opened:
    journal = Journal()
    journal.begin(JOB, 1)
    return Opened(journal, JobLog(journal, lambda: None), Table())


def recovered(journal: Journal, table: Table, rest: bytes = b"") -> list[str]:
    assert journal.is_of(JOB, 1)
    times = {row.at_us for row in table.rows}
    table.store(RecoveredLog(journal, times.__contains__, rest))
    return table.texts


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("10%\r20%\r30%", "30%"),
        ("\r10%\r20%", "20%"),
        ("windows\r", "windows"),
        ("erased\r\r", "erased"),
        ("a\rb\r", "b"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_a_rewritten_line_has_its_last_state(written: str, line: str) -> None:
    assert last_state(written) == line


@pytest.mark.parametrize("source", [STDOUT, STDERR, DESCRIPTORS])
@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
def test_lines_do_not_depend_on_how_the_text_is_cut_into_pieces(opened: Opened, source: int, pieces: int) -> None:
    text = "one\r\ntwo\n\nload 1%\rload 2%\rload é3%\nfive ünfinished"
    data = text.encode()
    for start in range(0, len(data), pieces):
        if source == DESCRIPTORS:
            opened.log.write_bytes(data[start : start + pieces])
    for start in range(0, len(text), pieces):
        if source != DESCRIPTORS:
            opened.log.write(source, text[start : start + pieces])
    opened.log.finish()
    opened.table.store(opened.log)
    assert opened.table.texts == ["one", "two", "", "load é3%", "five ünfinished"]


def test_a_line_that_never_ends_becomes_several_and_none_of_it_is_lost(opened: Opened) -> None:
    for _ in range(300):
        opened.log.write(STDOUT, "x" * 100)
    opened.log.finish()
    opened.table.store(opened.log)
    assert "".join(opened.table.texts) == "x" * 30_000


def test_an_unfinished_line_that_stands_is_shown_and_then_changed_in_its_place(opened: Opened) -> None:
    opened.log.write(STDERR, "\r 10%")
    time.sleep(0.25)  # as long as an unfinished line must stand
    opened.table.store(opened.log)
    opened.log.write(STDOUT, "meanwhile\n")
    opened.log.write(STDERR, "\r 20%")
    opened.table.store(opened.log)
    assert opened.table.texts == [" 10%", "meanwhile"] or opened.table.texts == [" 20%", "meanwhile"]
    opened.log.write(STDERR, "\r100%\nnext\n")
    opened.table.store(opened.log)
    assert opened.table.texts == ["100%", "meanwhile", "next"]


def test_a_private_key_is_masked_line_by_line(opened: Opened) -> None:
    opened.log.write(STDOUT, "-----BEGIN PRIVATE KEY-----\nAAAA\n")
    opened.log.write(STDOUT, "BBBB\n-----END PRIVATE KEY-----\nafter\n")
    opened.table.store(opened.log)
    assert opened.table.texts[1:3] == [MASK, MASK]
    assert opened.table.texts[-1] == "after"


@pytest.mark.parametrize("batch", [1, 17, 1_000, 50_000])
def test_a_long_log_keeps_head_and_tail_and_counts_the_rest(opened: Opened, batch: int) -> None:
    count = 4_000 if batch == 1 else 60_000
    for number in range(1, count + 1):
        opened.log.write(STDOUT, f"{number}\n")
        if number % batch == 0 and (batch > 1 or number % 100 == 0):
            opened.table.store(opened.log)
        if opened.log.is_full:
            opened.table.store(opened.log)
    opened.table.store(opened.log)
    found = [int(text) for text in opened.table.texts]
    left_out = opened.log.take()
    assert left_out is None
    if count <= HEAD_LINES + TAIL_LINES:
        assert found == list(range(1, count + 1))
    else:
        assert found == [*range(1, HEAD_LINES + 1), *range(count - TAIL_LINES + 1, count + 1)]


def test_the_head_is_bounded_in_bytes(opened: Opened) -> None:
    for _ in range(3_000):
        opened.log.write(STDOUT, "é" * 1_000 + "\n")
        if opened.log.is_full:
            opened.table.store(opened.log)
    opened.table.store(opened.log)
    size = sum(len(text.encode()) for text in opened.table.texts[:-TAIL_LINES])
    assert size <= HEAD_BYTES
    assert len(opened.table.rows) == HEAD_BYTES // 2_000 + 3_000 - HEAD_BYTES // 2_000


def test_while_nothing_can_be_stored_memory_is_bounded_and_what_was_dropped_is_counted(opened: Opened) -> None:
    count = 30_000
    for number in range(1, count + 1):
        opened.log.write(STDOUT, f"{number}\n")
    waiting = opened.log.take()
    assert waiting is not None
    assert len(waiting.lines) == HEAD_LINES + TAIL_LINES
    plan = plan_waiting(waiting, lambda text: text)
    assert plan.after.left_out + len(plan.added) == count
    assert plan.added[-1].text == str(count)


def test_a_transaction_that_failed_keeps_its_lines_in_their_order(opened: Opened) -> None:
    opened.log.write(STDOUT, "1\n2\n")
    opened.log.take()
    opened.log.write(STDOUT, "3\n")
    opened.log.kept_back()
    opened.table.store(opened.log)
    assert opened.table.texts == ["1", "2", "3"]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_death_during_the_commit_neither_loses_nor_doubles(opened: Opened, is_committed: bool) -> None:
    opened.log.write(STDOUT, "1\n2\n")
    waiting = opened.log.take()
    assert waiting is not None
    plan = plan_waiting(waiting, lambda text: text)
    opened.log.storing(plan.after)
    if is_committed:
        opened.table.rows = list(plan.added)
    opened.log.write(STDOUT, "3\n")
    assert recovered(opened.journal, opened.table) == ["1", "2", "3"]


def test_a_line_is_left_out_once_in_the_words_of_the_gap() -> None:
    assert log_bounds.gap_words(1) == "… 1 line left out …"
    assert log_bounds.gap_words(12_345) == "… 12,345 lines left out …"


def test_a_plan_for_lines_whose_predecessors_are_missing_ends_the_head() -> None:
    state = LogState(saved=5, head_lines=5, head_us=5)
    plan = plan_log(state, [LogLine(9, 9, "print", "nine")])
    assert (plan.after.left_out, plan.after.tail_lines, plan.after.is_cut) == (3, 1, True)


@pytest.mark.parametrize("value", [None, 0, -(2**63), 2**63 - 1])
def test_progress_is_read_as_it_was_written(value: int | None) -> None:
    journal = Journal()
    journal.begin(JOB, 1)
    assert journal.read_progress() == {}
    journal.write_progress(value, value, 12.5, "é" * 1_000, "s" * 200)
    found = journal.read_progress()
    assert found == {"done": value, "total": value, "progress": 12.5, "message": "é" * 1_000, "step": "s" * 200}
    journal.write_progress(1, None, None, None, None)
    assert journal.read_progress() == {"done": 1, "total": None, "progress": None}
    journal.begin(JOB, 2)
    assert journal.read_progress() == {}


def _by_print(log: JobLog, number: int) -> None:
    log.write(STDOUT, f"line {number}")
    log.write(STDOUT, "\n")


def _by_long_lines(log: JobLog, number: int) -> None:
    log.write(STDERR, f"line {number} {'é' * 9_000}\n")


def _by_descriptor(log: JobLog, number: int) -> None:
    reading, writing = _PIPE
    os.write(writing, f"line {number}\nline ".encode() if number % 2 else f"{number}\n".encode())
    log.receive(reading)


_PIPE = os.pipe()


@pytest.mark.parametrize("say", [_by_print, _by_long_lines, _by_descriptor], ids=["print", "long lines", "descriptor"])
@pytest.mark.parametrize("seed", range(8))
def test_a_kill_at_any_moment_loses_and_doubles_nothing(say: Callable[[JobLog, int], None], seed: int) -> None:
    journal = Journal()
    shared = memoryview(mmap.mmap(-1, 16)).cast("Q")
    pid = os.fork()
    if pid == 0:
        try:
            journal.begin(JOB, 1)
            log, table = JobLog(journal, lambda: None), Table()
            for number in range(1, 1_000_000):
                say(log, number)
                shared[0] = number
                # What is "stored" goes as far as `stored` says: the parent has no table of its own.
                if number % 50 == 0 and say is not _by_long_lines:
                    table.store(log)
                    shared[1] = number
        finally:
            os._exit(1)
    while shared[0] < 3:
        time.sleep(0.001)
    time.sleep(random.Random(seed).random() * 0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    table = Table()
    state, _possible = journal.states()
    log = RecoveredLog(journal, lambda _at: False, b"")
    waiting = log.take()
    found = [int(line.text.split()[1]) for line in (waiting.lines if waiting else []) if len(line.text.split()) > 1]
    first = found[0] if found else shared[0]
    assert found == list(range(first, first + len(found)))
    printed = shared[0]
    assert not found or found[-1] >= printed
    assert first <= state.saved + 1 or say is _by_long_lines
    assert table.texts == []


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        # `print` in two threads: text and line end apart, in every order.
        ([(0, "a"), (1, "b"), (0, "\n"), (1, "\n")], ["b", "a"]),
        ([(0, "a"), (1, "b"), (1, "\n"), (0, "\n")], ["b", "a"]),
        ([(0, "a"), (1, "b"), (0, "\n"), (0, "c"), (1, "\n"), (0, "\n"), (1, "d\n")], ["b", "a", "c", "d"]),
        ([(0, "a"), (1, "b\nc"), (0, " and more\n"), (1, "\nd\n")], ["b", "c", "a and more", "d"]),
        ([(0, "a"), (1, "\n"), (1, ""), (0, "\n")], ["", "a"]),
        ([(0, "a"), (1, "b\n"), (2, "c"), (1, "d"), (2, "\n"), (1, "\n"), (0, "\n")], ["b", "c", "d", "a"]),
        ([(0, "a"), (1, "b"), (1, "c"), (0, "\n"), (1, "\n")], ["b", "c", "a"]),
    ],
)
def test_threads_do_not_write_into_each_others_lines(
    opened: Opened, writes: list[tuple[int, str]], expected: list[str]
) -> None:
    with contextlib.ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(3)]
        for thread, text in writes:
            threads[thread].submit(opened.log.write, STDOUT, text).result()
    opened.log.finish()
    opened.table.store(opened.log)
    assert opened.table.texts == expected


def test_a_line_of_a_thread_that_was_killed_beside_another_is_recovered(opened: Opened) -> None:
    with ThreadPoolExecutor(1) as other:
        opened.log.write(STDOUT, "mine, unfinished")
        other.submit(opened.log.write, STDOUT, "beside it").result()
    assert recovered(opened.journal, opened.table) == ["beside it", "mine, unfinished"]
