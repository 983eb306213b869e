"""Tasks whose values and exceptions are awkward, for the tests of payloads and endings in a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from workers.task import enqueue, task


class Document(BaseModel):
    """A model with bytes, without a configuration."""

    data: bytes


@dataclass
class Visit:
    """A dataclass with a local time."""

    at: datetime


@task(max_retries=0)
def show(data: bytes, documents: list[Document] | None, visit: Visit, wait: timedelta, names: dict[int, str]) -> str:
    """Return what it was given as text."""
    return repr((data, documents, visit, wait, names))


PAYLOAD = {
    "data": b"\xff\x00\xfb",
    "documents": [Document(data=b"\xfe\xff")],
    "visit": Visit(datetime(2020, 1, 1)),  # noqa: DTZ001 - local time is what is tested
    "wait": timedelta(days=366, seconds=1.5),
    "names": {1: "one"},
}


@task(max_retries=0)
def enqueue_show() -> str:
    """Enqueue with values of Python; the id of the job."""
    return enqueue(show, PAYLOAD).job_id


def _leaving() -> Iterator[int]:
    yield 1
    raise SystemExit(3)


def _liar() -> Any:
    return type("Liar", (), {"__class__": property(lambda _self: 1 / 0)})()


@task(max_retries=0)
def give(what: str) -> Any:
    """Return a value that has no plain JSON form."""
    values = {"count": itertools.count, "repeat": lambda: itertools.repeat(1), "liar": _liar, "leaving": _leaving}
    return values[what]()


@task(max_retries=0)
def fail(how: str) -> None:
    """Raise an exception whose own code raises, after logging it."""

    def broken(*_values: object) -> Any:
        raise ZeroDivisionError

    if how == "type":
        raise type("Named", (type,), {"__name__": property(broken)})("Odd", (Exception,), {})  # type: ignore[misc]
    part = broken if how == "__getattribute__" else property(broken)
    error = type("Odd", (Exception,), {how: part})
    try:
        raise error
    except error:
        logging.getLogger("odd").exception("it failed")
        raise


@task(max_retries=0, timeout_seconds=20)
async def fail_async(how: str) -> None:
    """Do the same as `fail` in tasks of asyncio."""

    async def part() -> None:
        fail(how)

    await asyncio.gather(part(), part())


_GENERATORS: list[AsyncIterator[int]] = []


async def _stubborn() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def _slow_to_close() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await asyncio.sleep(3600)


@task(max_retries=0, timeout_seconds=30)
async def leave_running() -> str:
    """Return while a task and a generator are left that do not end."""
    asyncio.get_running_loop().create_task(_stubborn())
    _GENERATORS.append(_slow_to_close())
    await anext(_GENERATORS[0])
    return "returned"


@task(max_retries=0)
async def exit_in_subtask() -> None:
    """End by sys.exit in another task of asyncio."""

    async def leave() -> None:
        raise SystemExit(3)

    await asyncio.create_task(leave())


@task(max_retries=0)
async def look() -> int:
    """Return how many other tasks of asyncio run."""
    return len(asyncio.all_tasks()) - 1
