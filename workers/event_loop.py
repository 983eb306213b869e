"""The event loop that all async tasks of a process share, so that clients made at import work for every job.

`asyncio.run` would close the loop after each job, and with it the connections of a module's `httpx.AsyncClient()`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from workers.task_errors import Interrupted, TimeLimitReached

log = logging.getLogger("taskyard.tasks")

CLEARING_SECONDS = 5.0  # for what a job has left running: tasks that are canceled, generators that are closed
_MOST_NAMED = 5
_SLOW_SECONDS = 0.1  # asyncio's own
_kept: KeptLoop | None = None


def keep_loop(report: Callable[[str], object] = log.warning) -> None:
    """Have async tasks of this process share one loop from now on; `report` takes what a job left running."""
    global _kept
    _kept = KeptLoop(report)


def has_abandoned() -> bool:
    """Return whether a job has left something in its loop that did not end: this process is to be replaced."""
    return _kept is not None and bool(_kept.abandoned)


def run_coroutine(name: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a task's coroutine to its end; its result. On the kept loop if there is one, else as `asyncio.run` does.

    Raises RuntimeError when a loop runs in this thread already, else what the coroutine raises.
    """
    if _a_loop_runs():
        coroutine.close()
        raise RuntimeError(
            f"The task {name} is async, but an event loop is already running in this thread. Await its function instead."
        )
    if _kept is None:
        return asyncio.run(coroutine)
    return _kept.run(coroutine)


class KeptLoop:
    """A loop that runs one coroutine after another; what one leaves behind is gone before the next."""

    def __init__(self, report: Callable[[str], object], clearing_seconds: float = CLEARING_SECONDS) -> None:
        self._report, self._clearing_seconds = report, clearing_seconds
        self._runner: asyncio.Runner | None = None
        self.abandoned: list[object] = []  # loops with what did not end; kept, as Python warns when they are collected

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in a context of its own; its result. Raises what it raises."""
        runner = self._runner = self._sound_runner()
        loop = runner.get_loop()
        job = _Job(coroutine)
        try:
            runner.run(job.run(), context=copy_context())
            return job.outcome()
        finally:
            self._clear(loop, job)
            coroutine.close()  # one that was never started would be warned of

    def _sound_runner(self) -> asyncio.Runner:
        runner = self._runner
        if runner is not None and not _is_broken(runner.get_loop()):
            return runner
        return asyncio.Runner()

    def _clear(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        """End what the job has left. The job's own result counts, however that goes."""
        if loop.is_closed() or loop.is_running():
            return
        left = _unfinished(loop, job)
        if left:
            noun = "asyncio task was" if len(left) == 1 else "asyncio tasks were"
            self._report(f"{len(left)} {noun} still running when the job ended and canceled: {_names(left)}")
        generators = [*job.generators]
        clearing = loop.create_task(_end([*left, *job.own_task], generators, self._clearing_seconds))
        with suppress(TimeLimitReached, Interrupted):  # it came after the job
            _drive(loop, clearing)
        remaining = [one for one in _unfinished(loop, job) if one is not clearing]
        if remaining or not all(one.done() for one in (clearing, *job.own_task)):
            self._abandon(remaining)
        else:
            _reset(loop)

    def _abandon(self, tasks: list[asyncio.Task[Any]]) -> None:
        self.abandoned.append((self._runner, asyncio.all_tasks(self._runner.get_loop()) if self._runner else ()))
        self._runner = None
        if tasks:
            noun = "asyncio task" if len(tasks) == 1 else "asyncio tasks"
            limit = f"{self._clearing_seconds:g} s"
            self._report(f"{len(tasks)} {noun} did not end within {limit} of being canceled: {_names(tasks)}")


class _Job:
    """The coroutine of one job, with what it leaves: its task and the generators that it has begun."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._result: Any = None
        self._error: BaseException | None = None
        self.own_task: list[asyncio.Task[Any]] = []
        self.generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    def outcome(self) -> Any:
        """Return the result of the coroutine. Raises what it raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result

    async def run(self) -> None:
        """Run the coroutine and note the generators."""
        # The loop sets its hooks when it starts to run and takes them back when it stops. Its own way to end generators,
        # `shutdown_asyncgens`, can be used only once in the life of a loop.
        task = asyncio.current_task()
        self.own_task = [task] if task is not None else []
        hooks = sys.get_asyncgen_hooks()

        def note(generator: AsyncGenerator[Any, Any]) -> None:
            self.generators.add(generator)
            if hooks.firstiter is not None:
                hooks.firstiter(generator)

        sys.set_asyncgen_hooks(firstiter=note, finalizer=hooks.finalizer)
        try:
            self._result = await self._coroutine
        except BaseException as error:
            # Not through the loop: it asks an exception for its class, and would never end if that raised.
            self._error = error


def _a_loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _unfinished(loop: asyncio.AbstractEventLoop, job: _Job) -> list[asyncio.Task[Any]]:
    return [one for one in asyncio.all_tasks(loop) if not one.done() and one not in job.own_task]


def _drive(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Run a task to its end, also when SystemExit or KeyboardInterrupt of another one stops the loop meanwhile."""
    while not task.done():
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_until_complete(task)


async def _end(tasks: list[asyncio.Task[Any]], generators: list[AsyncGenerator[Any, Any]], seconds: float) -> None:
    """Cancel tasks and close generators, as far as they end in time."""
    until = time.monotonic() + seconds
    for task in tasks:
        task.cancel()
    await _await(tasks, seconds)
    closing = [asyncio.ensure_future(_close(one)) for one in generators]
    await _await(closing, max(0.0, until - time.monotonic()))


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


async def _await(tasks: list[asyncio.Task[Any]], seconds: float) -> None:
    if not tasks:
        return
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        if not task.cancelled():
            task.exception()  # has been looked at, so that asyncio does not log it


def _is_broken(loop: asyncio.AbstractEventLoop) -> bool:
    # Once shut down, a loop has no threads for `to_thread` any more, and warns of each generator.
    ended = getattr(loop, "_executor_shutdown_called", False) or getattr(loop, "_asyncgens_shutdown_called", False)
    return loop.is_closed() or loop.is_running() or bool(ended)


def _reset(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(None)
    loop.set_task_factory(None)
    loop.set_debug(False)
    loop.slow_callback_duration = _SLOW_SECONDS
    executor = getattr(loop, "_default_executor", None)
    if executor is not None and getattr(executor, "_thread_name_prefix", "") != "asyncio":
        loop._default_executor = None  # type: ignore[attr-defined]  # a job's own; the loop makes another when it needs one
    for number in list(getattr(loop, "_signal_handlers", ())):
        with suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(number)


def _names(tasks: list[asyncio.Task[Any]]) -> str:
    return ", ".join(_name(one) for one in tasks[:_MOST_NAMED])


def _name(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    if getattr(coroutine, "cr_code", None) is _close.__code__:
        return "an asynchronous generator"
    return str(getattr(coroutine, "__qualname__", None) or task.get_name())[:100]
