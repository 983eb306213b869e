"""Pages of a log by keyset: complete, in order, and no page looks complete where lines are missing."""

from __future__ import annotations

from typing import Any

import pytest

from workers.domain.log_bounds import LogLine, LogState, plan_log
from workers.running import RunningJob
from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.store import log_pages, logs
from workers.store.log_pages import Budget, LogCursor, LogFilter, LogPage, read_page
from workers.yard import Yard

SMALL = Budget(10, 100_000)


def begun(yard: Yard) -> RunningJob:
    made = jobs.enqueue(yard, NewJob("samples.noop", {})).job_id
    row = execution.begin(yard, made, 1, "w")
    assert not isinstance(row, execution.Refused)
    return RunningJob(yard, row, lambda: None)


def keep(yard: Yard, job_id: str, lines: list[tuple[str, str]], state: LogState | None = None) -> LogState:
    state = state or LogState()
    numbered = [
        LogLine(number, 1_000 * number, level, text) for number, (level, text) in enumerate(lines, state.saved + 1)
    ]
    with yard.database.write() as connection:
        return logs.keep(connection, job_id, 1, plan_log(state, numbered))[0]


def read(yard: Yard, job_id: str, budget: Budget = SMALL, wanted: LogFilter | None = None, **cursor: Any) -> LogPage:
    with yard.database.read() as connection:
        return read_page(connection, job_id, LogCursor(**cursor), wanted or LogFilter(), budget)


def texts(page: LogPage) -> list[str]:
    return [row["line"] for row in page.lines]


def test_pages_older_and_newer_hold_every_line_once(yard: Yard) -> None:
    job = begun(yard)
    other = begun(yard)
    for number in range(0, 35, 5):  # two logs that grow at once have ids between each other
        keep(yard, job.job_id, [("print", str(n)) for n in range(number, number + 5)])
        keep(yard, other.job_id, [("print", "other")] * 5)
    page = read(yard, job.job_id)
    found = texts(page)
    assert page.newer is None
    while page.older is not None:
        page = read(yard, job.job_id, before=page.older)
        found = texts(page) + found
    assert found == [str(n) for n in range(35)]
    page = read(yard, job.job_id, after=0)
    found = texts(page)
    while page.newer is not None:
        page = read(yard, job.job_id, after=page.newer)
        found += texts(page)
    assert found == [str(n) for n in range(35)]


def test_a_page_is_bounded_by_size_and_has_one_line_at_least(yard: Yard) -> None:
    job = begun(yard)
    keep(yard, job.job_id, [("print", "x" * 1_500)] * 6)
    assert len(read(yard, job.job_id, Budget(10, 4_000)).lines) == 2
    page = read(yard, job.job_id, Budget(10, 100))
    assert len(page.lines) == 1
    assert page.older == page.lines[0]["id"]


def test_levels_and_words_narrow_a_log_and_colors_do_not_hide_words(yard: Yard) -> None:
    job = begun(yard)
    keep(
        yard,
        job.job_id,
        [("debug", "Dot"), ("info", "\x1b[31mre\x1b[1md\x1b[0m alert"), ("warning", "Dear"), ("error", "done")],
    )
    assert texts(read(yard, job.job_id, wanted=LogFilter(least_level="warning"))) == ["Dear", "done"]
    assert len(read(yard, job.job_id, wanted=LogFilter(words="RED ALERT")).lines) == 1
    assert texts(read(yard, job.job_id, wanted=LogFilter(words="31m"))) == []
    assert texts(read(yard, job.job_id, wanted=LogFilter(attempt=2))) == []
    assert len(read(yard, job.job_id, wanted=LogFilter(attempt=1, words="d")).lines) == 4


def test_other_readers_get_lines_without_colors(yard: Yard) -> None:
    job = begun(yard)
    job.log.add("\x1b[32mgreen\x1b[0m password=\x1b[1mhunter22", "info")
    job.log.add("\x1b[32mgreen\x1b[0m", "info")
    job.flush()
    with yard.database.read() as connection:
        plain = [row["line"] for row in logs.page(connection, job.job_id)]
    assert plain == ["green password=••••••", "green"]
    assert texts(read(yard, job.job_id)) == ["green password=••••••", "\x1b[0;32mgreen\x1b[m"]


@pytest.mark.parametrize("wanted", [LogFilter(), LogFilter(words="9999"), LogFilter(least_level="error")])
def test_what_was_left_out_is_on_the_page_between_its_neighbors(yard: Yard, wanted: LogFilter) -> None:
    job = begun(yard)
    lines = [("error" if n % 9_999 == 0 else "print", str(n)) for n in range(12_000)]
    keep(yard, job.job_id, lines)
    page, found = read(yard, job.job_id, Budget(3_000, 10**7), wanted), []
    found = texts(page)
    while page.older is not None:
        page = read(yard, job.job_id, Budget(3_000, 10**7), wanted, before=page.older)
        found = texts(page) + found
    gap = found.index("… 2,000 lines left out …")
    assert all(int(text) < 8_000 for text in found[:gap])
    assert all(int(text) >= 10_000 for text in found[gap + 1 :])


def test_a_reader_whose_last_line_was_left_out_since_learns_it(yard: Yard) -> None:
    job = begun(yard)
    state = keep(yard, job.job_id, [("print", str(n)) for n in range(8_500)])
    last = read(yard, job.job_id).lines[-1]["id"]
    keep(yard, job.job_id, [("print", "late")] * 3_000, state)
    assert read(yard, job.job_id, after=last).is_gone


def test_a_search_looks_at_a_bounded_number_of_lines_at_once_and_goes_on(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "MAX_SEARCHED", 1_000)
    job = begun(yard)
    keep(yard, job.job_id, [("print", "needle"), *[("print", "hay")] * 2_500])
    page, pages = read(yard, job.job_id, wanted=LogFilter(words="needle")), 1
    while not page.lines and page.older is not None:
        page, pages = read(yard, job.job_id, wanted=LogFilter(words="needle"), before=page.older), pages + 1
    assert (texts(page), pages) == (["needle"], 3)
