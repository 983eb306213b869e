"""Tasks for trying things out, for tests and for benchmarks."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Annotated, Literal

from pydantic import Field

from workers.task import current_attempt, progress, task


@task(max_retries=0)
def noop() -> None:
    """Do nothing."""


@task(timeout_seconds=24 * 3600)
def sleep(
    seconds: Annotated[float, Field(ge=0, le=86_400, description="Total time to sleep.")] = 1.0,
    steps: Annotated[int, Field(ge=1, le=100_000, description="Number of steps; each step reports progress.")] = 10,
) -> dict[str, float]:
    """Sleep and report progress at each step."""
    start = time.monotonic()
    for done in range(steps):
        progress(done, steps, f"step {done + 1} of {steps}")
        time.sleep(max(0.0, start + seconds * (done + 1) / steps - time.monotonic()))
    progress(steps, steps, "awake")
    return {"slept_seconds": round(time.monotonic() - start, 3)}


@task
def fail(
    times: Annotated[int, Field(ge=-1, le=1000, description="Number of attempts that fail; -1 = all.")] = -1,
    message: Annotated[str, Field(max_length=10_000, description="Error message.")] = "asked to fail",
) -> dict[str, int]:
    """Fail the first attempts, then succeed."""
    if times < 0 or current_attempt() <= times:
        raise RuntimeError(message)
    return {"attempt": current_attempt()}


@task(max_retries=0, timeout_seconds=60)
def crash(
    how: Annotated[Literal["exit", "segfault", "memory", "hang"], Field(description="How the process ends.")] = "exit",
) -> None:
    """Crash the process that runs the job; the worker and other jobs continue."""
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "memory":
        _eat_memory()
    while True:
        time.sleep(1)


@task(max_retries=0)
def chatter(
    lines: Annotated[int, Field(ge=0, le=100_000_000, description="Number of lines to print.")] = 100,
) -> dict[str, int]:
    """Print lines."""
    for number in range(1, lines + 1):
        print(f"line {number:,} of {lines:,}")  # noqa: T201 - printing is what it is for
    return {"lines": lines}


def _eat_memory() -> None:
    eaten = []
    for _ in range(1024):
        eaten.append(bytearray(16 * 1_048_576))
    raise MemoryError(f"{len(eaten) * 16} MB allocated")
