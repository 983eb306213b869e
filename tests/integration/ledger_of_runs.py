"""A task that writes down beside every database when it ran, in which process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from workers.task import progress, task


@task(max_retries=0)
def count(ledger: str, times: int) -> int:
    """Write down the process so many times, ten a second of the time in which it may run."""
    with Path(ledger).open("a") as lines:
        for _ in range(times):
            lines.write(f"{os.getpid()} {time.monotonic()}\n")
            lines.flush()
            time.sleep(0.1)
    return times


@task
def tick(ledger: str, seconds: float) -> int:
    """Write down the process and the steady clock ten times a second; how often."""
    began = time.monotonic()
    count = 0
    with Path(ledger).open("a") as lines:
        while time.monotonic() - began < seconds:
            lines.write(f"{os.getpid()} {time.monotonic()}\n")
            lines.flush()
            count += 1
            progress(min(time.monotonic() - began, seconds), seconds)
            time.sleep(0.1)
    return count
