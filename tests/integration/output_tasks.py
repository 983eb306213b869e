"""Tasks that say something and die, for the tests of what is kept of it."""

# ruff: noqa: T201 - printing is what they are here for

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from workers.task import log, progress, step, task


def _say_all() -> None:
    print("by print")
    print("by stderr", file=sys.stderr)
    print("by the first stream", file=sys.__stdout__)
    os.write(1, b"by descriptor\n")
    sys.stdout.buffer.write(b"by buffer\n")
    subprocess.run(["sh", "-c", "echo by a process"], check=True)
    ctypes.CDLL(None).puts(b"by C")
    logging.getLogger("some.part").warning("by logging")
    log("by log", "error")
    os.write(2, b"unfinished in the pipe")
    print("unfinished", end="")


def _crash() -> None:
    faulthandler.disable()
    ctypes.string_at(0)


_DEATHS: dict[str, Callable[[], object]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": _crash,
    "SIGABRT": os.abort,
    "exit": lambda: os._exit(3),
    "descriptors": lambda: os.closerange(0, 256),
}


@task(max_retries=0)
def say_secrets_and_die(token: str) -> None:
    """Say a secret of the payload in every way and die at once."""
    print(f"printed {token}")
    os.write(1, f"written {token}\nand unfinished {token}".encode())
    progress(1, 2, f"reported {token}")
    print(f"unfinished {token}", end="")
    os.kill(os.getpid(), signal.SIGKILL)


@task(max_retries=0)
def say_and_die(how: str) -> None:
    """Say something in every way and die at once."""
    _say_all()
    progress(3, 12, "third of twelve")
    step("dying")
    _DEATHS[how]()


@task(max_retries=0)
def report_and_die(counts: list[float | None], how: str) -> None:
    """Report progress without a total and die at once."""
    for count in counts:
        progress(count, message="so far")
    _DEATHS[how]()


@task(max_retries=0)
def print_and_die(lines: int, source: str, path: str = "") -> None:
    """Print numbered lines, once a file is there, and die."""
    while path and not Path(path).exists():
        time.sleep(0.02)
    for number in range(1, lines + 1):
        if source == "print":
            print(f"line {number}")
        else:
            os.write(1, f"line {number}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


@task(max_retries=0)
def count_until_killed(folder: str, source: str) -> None:
    """Print numbered lines for ever; how many were printed stands in a file."""
    path = Path(folder) / "printed"
    path.with_suffix(".new").write_bytes(bytes(8))
    path.with_suffix(".new").rename(path)
    with path.open("r+b") as file, contextlib.closing(mmap.mmap(file.fileno(), 8)) as shared:
        printed = memoryview(shared).cast("Q")
        number = 0
        while True:
            number += 1
            if source == "print":
                print(f"line {number}")
            else:
                os.write(1, f"line {number}\n".encode())
            printed[0] = number


@task(max_retries=0)
def rewrite(path: str) -> None:
    """Show progress as tqdm does, until a file appears, and end the line."""
    print("before")
    for percent in range(1, 51):
        sys.stderr.write(f"\rload {percent}%")
        sys.stderr.flush()
        time.sleep(0.01)
    while not Path(path).exists():
        time.sleep(0.02)
    for percent in range(51, 101):
        sys.stderr.write(f"\rload {percent}%")
    sys.stderr.write("\n")
    print("after")


@task(max_retries=0)
def flood(megabytes: int, how: str) -> dict[str, int]:
    """Write very much; how much the process has grown, in kB."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = "x" * 99
    print("the first line")
    for number in range(megabytes * 10_000):
        if how == "print":
            print(line)
        elif number % 10_000 == 0:
            os.write(1, (line + "\n").encode() * 10_000)
    print("the last line")
    return {"grown_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}


@task(max_retries=0)
def leave_processes(how: str, end: str, folder: str) -> None:
    """Start processes that leave the session or their parent and write their pids to a folder; then end."""
    program = f"import os, pathlib, time; (pathlib.Path({folder!r}) / str(os.getpid())).touch(); time.sleep(600)"
    if how == "session":
        subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    elif how == "daemon":
        twice = f"import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{program}"
        subprocess.run([sys.executable, "-c", twice], check=True, env={})
    else:
        inner = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {program!r}], start_new_session=True); {program}"
        subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
    while len(os.listdir(folder)) < (2 if how == "nested" else 1):
        time.sleep(0.02)
    print("started")
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end != "returns":
        time.sleep(600)


@task(max_retries=0)
def speak_from_forks(count: int) -> None:
    """Print from several forked processes at once, through streams and handlers that were there before, and from here."""
    stream, handler = sys.stdout, logging.getLogger().handlers[0]
    pids = []
    for fork in range(3):
        pid = os.fork()
        if pid == 0:
            for number in range(count):
                stream.write(f"fork {fork} line {number}\n")
            record = logging.LogRecord("forked", logging.INFO, "", 0, f"logged {fork}", (), None)
            handler.handle(record)
            os._exit(0)
        pids.append(pid)
    for number in range(count):
        stream.write(f"fork x line {number}\n")
    for pid in pids:
        os.waitpid(pid, 0)
    os.kill(os.getpid(), signal.SIGKILL)


@task(max_retries=0)
def eat(megabytes: int) -> None:
    """Take memory until it is enough or the kernel says no."""
    print("hungry")
    held = [bytearray(b"x" * 1_048_576) for _ in range(megabytes)]
    print(len(held))


@task(max_retries=0)
def speak_from_threads(count: int) -> None:
    """Print from several threads at once and die."""
    threads = [
        threading.Thread(target=lambda n=n: [print(f"thread {n} line {i}") for i in range(count)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.kill(os.getpid(), signal.SIGKILL)


@task(max_retries=0)
def read_aloud(path: str) -> None:
    """Print what is appended to a file, as it comes, until the line `end`."""
    with Path(path).open(encoding="utf-8") as file:
        while True:
            line = file.readline()
            if not line.endswith("\n"):
                file.seek(file.tell() - len(line.encode()))
                time.sleep(0.02)
            elif line == "end\n":
                return
            else:
                level, _, text = line.rstrip("\n").partition("|")
                if text:
                    log(text, level)
                else:
                    print(level)
