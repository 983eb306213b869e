"""The event loop that all async tasks of a process share, so that clients made at import work for every job.

`asyncio.run` would close the loop after each job, and with it the connections of a module's `httpx.AsyncClient()`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

log = logging.getLogger("taskyard.tasks")

_MOST_NAMED = 5
_kept: KeptLoop | None = None


def keep_loop(report: Callable[[str], object] = log.warning) -> None:
    """Have async tasks of this process share one loop from now on; `report` takes what a job left running."""
    global _kept
    _kept = KeptLoop(report)


def run_coroutine(name: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a task's coroutine to its end; its result. On the kept loop if there is one, else as `asyncio.run` does.

    Raises RuntimeError when a loop runs in this thread already, else what the coroutine raises.
    """
    if _a_loop_runs():
        coroutine.close()
        raise RuntimeError(
            f"The task {name} is async and was run while an event loop runs in this thread. Await its function instead."
        )
    if _kept is None:
        return asyncio.run(coroutine)
    return _kept.run(coroutine)


class KeptLoop:
    """A loop that runs one coroutine after another; what one leaves behind is gone before the next."""

    def __init__(self, report: Callable[[str], object]) -> None:
        self._report = report
        self._runner: asyncio.Runner | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in a context of its own; its result. Raises what it raises."""
        runner = self._runner = self._sound_runner()
        loop = runner.get_loop()
        generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        try:
            return runner.run(_noting_generators(coroutine, generators), context=copy_context())
        finally:
            self._clear(loop, generators)
            coroutine.close()  # one that was never started would be warned of

    def _sound_runner(self) -> asyncio.Runner:
        runner = self._runner
        if runner is not None and not _is_broken(runner.get_loop()):
            return runner
        return asyncio.Runner()

    def _clear(self, loop: asyncio.AbstractEventLoop, generators: weakref.WeakSet[AsyncGenerator[Any, Any]]) -> None:
        if loop.is_closed() or loop.is_running():
            return
        left = [one for one in asyncio.all_tasks(loop) if not one.done()]
        if left:
            names = ", ".join(_name(one) for one in left[:_MOST_NAMED])
            noun = "asyncio task was" if len(left) == 1 else "asyncio tasks were"
            self._report(f"{len(left)} {noun} still running when the job ended and canceled: {names}")
        loop.run_until_complete(_end(left, [*generators]))
        _reset(loop)


def _a_loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _noting_generators(
    coroutine: Coroutine[Any, Any, Any], generators: weakref.WeakSet[AsyncGenerator[Any, Any]]
) -> Any:
    # The loop sets its hooks when it starts to run and takes them back when it stops. Its own way to end generators,
    # `shutdown_asyncgens`, can be used only once in the life of a loop.
    hooks = sys.get_asyncgen_hooks()

    def note(generator: AsyncGenerator[Any, Any]) -> None:
        generators.add(generator)
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    sys.set_asyncgen_hooks(firstiter=note, finalizer=hooks.finalizer)
    return await coroutine


async def _end(tasks: list[asyncio.Task[Any]], generators: list[AsyncGenerator[Any, Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(one.aclose() for one in generators), return_exceptions=True)


def _is_broken(loop: asyncio.AbstractEventLoop) -> bool:
    # Once shut down, a loop has no threads for `to_thread` any more, and warns of each generator.
    ended = getattr(loop, "_executor_shutdown_called", False) or getattr(loop, "_asyncgens_shutdown_called", False)
    return loop.is_closed() or loop.is_running() or bool(ended)


def _reset(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(None)
    loop.set_task_factory(None)
    loop.set_debug(False)
    for number in list(getattr(loop, "_signal_handlers", ())):
        with suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(number)


def _name(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return str(getattr(coroutine, "__qualname__", None) or task.get_name())[:100]
