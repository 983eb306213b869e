"""Tasks that write down themselves that they ran, where no database can lose it."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import time_machine

from workers.domain.clock import utcnow
from workers.task import current_attempt, current_job_id, progress, task

MANY = 50


def write_down(word: str) -> None:
    """Append one line; the system makes that whole lines."""
    line = f"{word} {current_job_id()} {current_attempt()} {os.getpid()}\n"
    ledger = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line.encode())
    os.close(ledger)


@task(max_retries=MANY, retry_delays=(0.2,))
def work(seconds: float = 0.02) -> int:
    """Begin, take a while, end."""
    write_down("began")
    if seconds > 0.5:
        for done in range(10):
            progress(done, 10)
            time.sleep(seconds / 10)
    else:
        time.sleep(seconds)
    write_down("ended")
    return current_attempt()


@task(max_retries=0)
def step_clock(hours: float) -> float:
    """Run with a clock that is off by hours, and leave it so."""
    time_machine.travel(utcnow() + timedelta(hours=hours), tick=True).start()
    return hours
