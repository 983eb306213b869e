"""Async tasks with a client that is made at import, for the tests."""

from __future__ import annotations

import asyncio
import os

import httpx

from workers.task import check_canceled, task

CLIENT = httpx.AsyncClient()


@task(max_retries=0)
async def fetch(url: str) -> dict[str, object]:
    """Fetch with the client that all jobs share; what was answered, and the process."""
    answer = await CLIENT.get(url)
    return {"text": answer.text, "pid": os.getpid()}


@task(max_retries=0)
async def leave_running() -> int:
    """End while a task of asyncio still runs; how many others ran at the start."""
    others = len(asyncio.all_tasks()) - 1
    asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="left")
    await asyncio.sleep(0)
    return others


@task(max_retries=0)
async def wait(listens: bool = True) -> None:
    """Wait until somebody cancels the job."""
    while True:
        if listens:
            check_canceled()
        await asyncio.sleep(0.05)
