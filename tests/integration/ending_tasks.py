"""Tasks for the tests of how attempts end: at a stop of the worker, at the time limit, by a cancel."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from workers.task import Interrupted, TimeLimitReached, check_canceled, stopping, task


@task(max_retries=0)
def wait(mark: str, *, finish: bool = False) -> str:
    """Run until the worker is stopped; what happened is written to the file."""
    file = Path(mark)
    if file.exists():
        return file.read_text()
    try:
        file.write_text("started")
        while not stopping():
            time.sleep(0.02)
        file.write_text("asked to stop")
        if finish:
            return "finished"
        time.sleep(600)
    except Interrupted:
        file.write_text("interrupted")
        raise
    return "not interrupted"


@task(max_retries=0)
def give_way(mark: str) -> str:
    """Raise Interrupted as soon as the worker is to stop."""
    if Path(mark).exists():
        return "second attempt"
    Path(mark).write_text("started")
    while not stopping():
        time.sleep(0.02)
    raise Interrupted


@task(max_retries=0)
def ignore(mark: str) -> str:
    """Refuse to be interrupted."""
    if Path(mark).exists():
        return "second attempt"
    Path(mark).write_text("started")
    while True:
        try:
            time.sleep(600)
        except Interrupted:
            continue


@task(max_retries=0, timeout_seconds=1)
def clean_up(mark: str) -> None:
    """Run over the time limit and clean up."""
    try:
        hang_here()
    finally:
        Path(mark).write_text("cleaned up")


def hang_here() -> None:
    """Hang in a place that is to be found in the stack."""
    while True:
        time.sleep(0.05)


@task(max_retries=0, timeout_seconds=1)
def swallow() -> None:
    """Ignore the time limit."""
    while True:
        try:
            hang_here()
        except TimeLimitReached:
            continue


@task(max_retries=0, timeout_seconds=1)
def save_part() -> str:
    """Return what is done when the time is over."""
    try:
        hang_here()
    except TimeLimitReached:
        return "a part of it"
    return "all of it"


@task(max_retries=0)
def cancel_in_thread(*, fail: bool) -> str:
    """Find the cancel in a thread of its own."""

    def look() -> None:
        while True:
            check_canceled()
            time.sleep(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    if fail:
        raise RuntimeError("the thread is gone")
    return "done"
