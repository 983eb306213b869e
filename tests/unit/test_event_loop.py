"""One event loop for all async tasks of a process: what is made at import works, what a job leaves behind is gone."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from workers import event_loop
from workers.event_loop import KeptLoop, run_coroutine
from workers.running import Canceled
from workers.task_errors import TimeLimitReached

pytestmark = pytest.mark.usefixtures("no_running_loop")
variable = contextvars.ContextVar("variable", default="untouched")


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def kept(reports: list[str]) -> Iterator[KeptLoop]:
    loop = KeptLoop(reports.append)
    yield loop
    if loop._runner is not None:
        loop._runner.close()


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_what_was_made_on_the_loop_works_for_the_hundredth_job(kept: KeptLoop) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    lock = asyncio.Lock()

    async def job(number: int) -> int:
        async with lock:
            waiter = asyncio.ensure_future(queue.get())
            await asyncio.sleep(0)
            await queue.put(number)
            return await waiter

    assert [kept.run(job(number)) for number in range(100)] == list(range(100))


def test_a_task_that_is_left_running_is_canceled_and_reported(kept: KeptLoop, reports: list[str]) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("canceled")

    async def job() -> str:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return task.get_name()

    kept.run(job())
    assert ended == ["canceled"]
    assert len(reports) == 1
    assert "1 asyncio task was still running" in reports[0]
    assert "background" in reports[0]
    assert kept.run(_other_tasks()) == 0


async def _other_tasks() -> int:
    return len(asyncio.all_tasks()) - 1


def test_generators_that_are_left_open_are_closed_for_each_job(kept: KeptLoop) -> None:
    closed: list[int] = []
    kept_open: list[AsyncIterator[int]] = []

    async def numbers(job: int) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(job)

    async def job(number: int) -> None:
        generator = numbers(number)
        kept_open.append(generator)
        await anext(generator)

    for number in range(3):
        kept.run(job(number))
        assert closed == list(range(number + 1))


def test_a_context_variable_does_not_reach_the_next_job(kept: KeptLoop) -> None:
    async def job() -> str:
        found = variable.get()
        variable.set("touched")
        return found

    assert [kept.run(job()) for _ in range(2)] == ["untouched", "untouched"]
    assert variable.get() == "untouched"


@pytest.mark.parametrize("how", ["close", "executor", "generators", "stop", "unset"])
def test_a_loop_that_a_job_broke_does_not_break_the_next(kept: KeptLoop, how: str) -> None:
    first = kept.run(running_loop())

    async def job() -> None:
        loop = asyncio.get_running_loop()
        if how == "executor":
            await loop.shutdown_default_executor()
        elif how == "generators":
            await loop.shutdown_asyncgens()
        elif how == "stop":
            loop.stop()
            await asyncio.sleep(3600)
        elif how == "unset":
            asyncio.set_event_loop(None)

    if how == "stop":
        with pytest.raises(RuntimeError, match="stopped"):
            kept.run(job())
    else:
        kept.run(job())
    if how == "close":
        first.close()
    assert kept.run(asyncio.to_thread(lambda: "works")) == "works"


def test_what_a_job_sets_on_the_loop_is_taken_back(kept: KeptLoop) -> None:
    async def job() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _loop, _context: None)
        loop.add_signal_handler(signal.SIGUSR2, lambda: None)
        loop.slow_callback_duration = 9.0
        loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="job"))

    kept.run(job())
    loop = kept.run(running_loop())
    assert not loop.get_debug()
    assert loop.get_exception_handler() is None
    assert loop.slow_callback_duration == 0.1
    assert not kept.run(asyncio.to_thread(lambda: threading.current_thread().name)).startswith("job")
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


@pytest.mark.parametrize("error", [ValueError, Canceled, KeyboardInterrupt, SystemExit])
def test_what_a_task_raises_comes_out_and_the_next_job_runs(kept: KeptLoop, error: type[BaseException]) -> None:
    async def job() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        raise error("out")

    with pytest.raises(error):
        kept.run(job())
    assert kept.run(asyncio.sleep(0, "next")) == "next"


async def stubborn() -> None:
    """Never end, however often it is canceled."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def slow_to_close() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await asyncio.sleep(3600)


_open_generators: list[AsyncIterator[int]] = []


async def leave_a_task() -> str:
    asyncio.get_running_loop().create_task(stubborn())
    await asyncio.sleep(0)
    return "returned"


async def leave_a_generator() -> str:
    generator = slow_to_close()
    _open_generators.append(generator)
    await anext(generator)
    return "returned"


@pytest.mark.parametrize("job", [leave_a_task, leave_a_generator])
def test_what_does_not_end_when_canceled_is_left_behind_and_the_result_counts(reports: list[str], job: Any) -> None:
    kept = KeptLoop(reports.append, clearing_seconds=0.2)
    assert kept.run(job()) == "returned"
    assert "did not end within 0.2 s" in reports[-1]
    assert len(kept.abandoned) == 1
    assert kept.run(_other_tasks()) == 0
    assert kept._runner is not None
    kept._runner.close()


def test_a_limit_that_comes_while_a_job_is_cleared_up_does_not_take_its_result(reports: list[str]) -> None:
    kept = KeptLoop(reports.append)

    def on_alarm(_signal: int, _frame: object) -> None:
        raise TimeLimitReached

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert kept.run(leave_a_task()) == "returned"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert kept.abandoned
    assert kept.run(_other_tasks()) == 0
    assert not any("_end" in text for text in reports)


async def exit_when_canceled() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise SystemExit(3) from None


async def exit_at_once() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("subtask", [exit_when_canceled, exit_at_once])
def test_a_subtask_that_exits_leaves_nothing_of_ours_in_the_log(
    kept: KeptLoop, reports: list[str], subtask: Any
) -> None:
    async def job() -> None:
        task = asyncio.get_running_loop().create_task(subtask())
        await asyncio.sleep(0)
        if subtask is exit_at_once:
            await task

    if subtask is exit_at_once:
        with pytest.raises(SystemExit):
            kept.run(job())
    else:
        kept.run(job())
    assert kept.run(_other_tasks()) == 0
    assert kept.run(asyncio.sleep(0, "next")) == "next"
    assert not any("_end" in text or "_Job" in text or "_noting" in text for text in reports)


def test_the_hooks_of_generators_are_restored(kept: KeptLoop) -> None:
    before = sys.get_asyncgen_hooks()
    kept.run(asyncio.sleep(0))
    assert sys.get_asyncgen_hooks() == before


def test_outside_of_a_worker_each_call_has_a_loop_of_its_own() -> None:
    assert event_loop._kept is None
    first, second = run_coroutine("t", running_loop()), run_coroutine("t", running_loop())
    assert first.is_closed()
    assert first is not second


def test_a_loop_that_runs_already_is_named() -> None:
    async def outer() -> None:
        run_coroutine("orders.send", running_loop())

    with pytest.raises(RuntimeError, match=r"orders\.send is async.* Await its function"):
        asyncio.run(outer())
