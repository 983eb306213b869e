"""How a child died, in words: the signal or status, and whether memory ran out, where there is evidence for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

LOOK_SECONDS = 1.0
_FRESH_SECONDS = 3.0  # how old a measurement may be to say something about a death
_FULL = 0.95  # the part of a limit from which memory counts as exhausted
_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_HOST_COUNTERS = Path("/proc/vmstat")
_COUNTER = "oom_kill"


class MemoryWatch:
    """Looks about once a second at what would show that the kernel kills for want of memory."""

    def __init__(self, membership: Path = _MEMBERSHIP, groups: Path = _GROUPS, host: Path = _HOST_COUNTERS) -> None:
        self._group = MemoryGroup.of(membership, groups)
        self._counters = self._group.events if self._group is not None else host
        self._kills = self._kills_before = read_counter(self._counters)
        self._looked_at = 0.0
        self._was_full = False

    def look(self) -> None:
        """Note counter and use, if it is time; call it when a job begins and while it runs."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        # The kernel counts a kill long before a large process is gone: compare with the look before the last one.
        self._kills_before, self._kills = self._kills, read_counter(self._counters)
        self._was_full = self._is_full()

    def has_run_out(self) -> bool:
        """Return whether memory was probably the cause of a death just now."""
        kills = read_counter(self._counters)
        before, self._kills_before, self._kills = self._kills_before, kills, kills
        if kills is not None and before is not None and kills > before:
            return True
        return self._was_full and time.monotonic() - self._looked_at <= _FRESH_SECONDS

    def _is_full(self) -> bool:
        if self._group is not None and self._group.is_full():
            return True
        with contextlib.suppress(Exception):  # what cannot be read is no evidence
            host = psutil.virtual_memory()
            return bool(host.available <= host.total * (1 - _FULL))
        return False


class MemoryGroup:
    """The control group whose memory limit holds for this process, version 1 or 2."""

    def __init__(self, events: Path, limit: Path, usage: Path) -> None:
        self.events, self._limit, self._usage = events, limit, usage

    @classmethod
    def of(cls, membership: Path, groups: Path) -> MemoryGroup | None:
        """Find it; None where there is none that counts kills."""
        for line in _lines(membership):
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            inner = path.lstrip("/")
            if controllers == "":
                folder = groups / inner
                found = cls(folder / "memory.events", folder / "memory.max", folder / "memory.current")
            elif "memory" in controllers.split(","):
                folder = groups / "memory" / inner
                names = ("memory.oom_control", "memory.limit_in_bytes", "memory.usage_in_bytes")
                found = cls(*(folder / name for name in names))
            else:
                continue
            if read_counter(found.events) is not None:
                return found
        return None

    def is_full(self) -> bool:
        """Return whether its use is near its limit."""
        limit, usage = _number(self._limit), _number(self._usage)
        return limit is not None and usage is not None and usage >= limit * _FULL


def read_counter(path: Path) -> int | None:
    """Return how many processes the kernel has killed for want of memory; None when it does not say."""
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == _COUNTER and value.strip().isdigit():
            return int(value)
    return None


def death_words(status: int, peak_bytes: int, *, is_out_of_memory: bool) -> str:
    """Return how a process died, from its wait status, as the end of a sentence."""
    if not os.WIFSIGNALED(status):
        return f"exited with status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    words = f"was killed by {_name(number)}"
    if number == signal.SIGKILL and is_out_of_memory:
        return f"{words} at {peak_bytes / 1_048_576:,.0f} MB, probably out of memory"
    return words


def peak_bytes(rss: int) -> int:
    """Return the `ru_maxrss` of a process in bytes."""
    return rss * (1 if sys.platform == "darwin" else 1024)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)[:1])
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
