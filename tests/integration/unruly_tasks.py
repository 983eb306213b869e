"""Tasks that misbehave, for the tests of isolation."""

# ruff: noqa: T201 - printing is what they are here for

from __future__ import annotations

import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from workers.task import log, progress, task


@task(max_retries=0)
def surroundings() -> dict[str, object]:
    """Tell what a job finds."""
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "mark": os.environ.get("UNRULY_MARK"),
        "alarm": str(signal.getsignal(signal.SIGALRM)),
        "threads": threading.active_count(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


@task(max_retries=0)
def disturb(how: str) -> int:
    """Change the process and leave it so; the pid."""
    _DISTURBANCES[how]()
    return os.getpid()


@task(max_retries=0)
def fork() -> str:
    """Fork, and let both come out of the function."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return "parent"
    print("the forked one speaks")
    return "child"


@task(max_retries=0)
def leave(how: str) -> None:
    """End the process from inside."""
    if how == "exit":
        sys.exit(4)
    if how == "descriptors":
        os.closerange(3, 64)
    if how == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
        bytearray(1 << 34)


@task(max_retries=0)
def give(what: str) -> object:
    """Return something that JSON may not hold."""
    loop: list[object] = []
    loop.append(loop)
    secret = {"text": "x" * 999_500 + " xoxb-123456789012-123456789012-abcdefghijklmnopqrstuvwx " + "y" * 200_000}
    large = "x" * 1_100_000
    values = {"set": {1}, "nan": math.nan, "large": large, "large secret": secret, "loop": loop, "bytes": b"x"}
    return values[what]


@task(max_retries=0)
def advance(how: str) -> None:
    """Report progress with values that are no numbers."""
    values: dict[str, Any] = {"nothing": None, "nan": math.nan, "text": "5", "object": object(), "infinite": math.inf}
    values |= {"decimal": Decimal("2.5"), "no total": 3}
    progress(values[how], values[how], values[how])
    progress(1, values[how])
    progress(values[how])


@task(max_retries=0)
def speak() -> None:
    """Write to every stream there is."""
    print("by print")
    sys.stderr.write("by stderr\n")
    os.write(1, b"by descriptor\n")
    sys.stdout.buffer.write(b"by buffer\n")
    subprocess.run(["sh", "-c", "echo by a process; echo and its errors >&2"], check=True)
    subprocess.run(["echo", "handed on"], check=True, stdout=sys.stdout)
    logging.getLogger("some.part").warning("by logging")
    log("by log", "error")
    print("password=hunter2 is masked")
    print("no end of line", end="")


@task(max_retries=0)
def flood(megabytes: int) -> None:
    """Write very much to the descriptor."""
    block = b"x" * 99 + b"\n"
    for _ in range(megabytes):
        os.write(1, block * 10_000)


@task(max_retries=0)
def from_threads() -> int:
    """Tell progress and log lines from other threads."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: (log(f"line {number}"), progress(number, 4)), range(1, 5)))
    return threading.active_count()


@task(max_retries=0)
def with_offspring(seconds: float) -> None:
    """Start a process, say its pid, and wait."""
    with subprocess.Popen(["sleep", "600"]) as process:
        print(f"offspring {process.pid}")
        time.sleep(seconds)


def _thread() -> None:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


_DISTURBANCES = {
    "folder": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(UNRULY_MARK="left"),
    "signal": lambda: signal.signal(signal.SIGALRM, lambda *_: None),
    "thread": _thread,
    "limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
    "offspring": lambda: subprocess.Popen(["sleep", "600"]),
    "nothing": lambda: None,
}
