"""Keeping children alive: started together, started again when they die, stopped in order."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from workers.processes.backoff import Backoff

log = logging.getLogger("taskyard.keeper")

KILL_AFTER_SECONDS = 3.0
CANNOT_WORK = 78  # the exit status of a process whose settings cannot be used
_TICK_SECONDS = 1.0


@dataclass
class Kept:
    """A child that is to be alive; `start` makes the process and tells its pid."""

    label: str
    start: Callable[[], int]
    stage: int = 0  # the lowest is stopped first
    grace_seconds: float = 10.0
    why_died: Callable[[], str] = field(default=lambda: "")
    backoff: Backoff = field(default_factory=Backoff)
    pid: int = 0
    started_at: float = 0.0
    due_at: float | None = 0.0  # when it is to be started; None while it runs
    is_retiring: bool = False


class Keeper:
    """A loop around its children: signals, deaths and messages wake it."""

    def __init__(self, children: Sequence[Kept]) -> None:
        self.children = list(children)
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        self._stop_signals = self._exit_code = 0
        self.after_death: Callable[[], object] = lambda: None
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self.listen(self._woken, self._drain)

    def listen(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call this whenever the descriptor has something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def deafen(self, descriptor: int) -> None:
        """Stop listening to a descriptor."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def obey_signals(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP as the wish to stop; a second one hurries."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(one) is not signal.SIG_IGN:  # nohup stays nohup
                signal.signal(one, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)

    def close(self) -> None:
        """Give the descriptors back, in the parent at its end or in a child after the fork."""
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def retire(self, child: Kept) -> None:
        """Ask a child to stop and let it take its time; it is not started again."""
        child.is_retiring = True
        if child.pid:
            os.kill(child.pid, signal.SIGTERM)
        else:
            self.children.remove(child)

    def request_stop(self) -> None:
        """Stop as on a signal."""
        self._stop_signals += 1

    def run(self) -> int:
        """Keep the children until a stop is wished for, then stop them stage by stage. Returns the exit code."""
        while not self._stop_signals:
            self.step(_TICK_SECONDS)
        for stage in sorted({child.stage for child in self.children}):
            self._stop([child for child in self.children if child.stage == stage])
        return self._exit_code

    def step(self, longest_seconds: float) -> None:
        """Start what is due, wait for something to happen, see who has died."""
        now = time.monotonic()
        for child in self.children:
            if child.due_at is not None and child.due_at <= now and not self._stop_signals:
                self._start(child)
        dues = [child.due_at - now for child in self.children if child.due_at is not None]
        self._wait(max(0.0, min([longest_seconds, *dues])))
        self._reap()

    def _start(self, child: Kept) -> None:
        child.pid = child.start()
        child.started_at, child.due_at = time.monotonic(), None

    def _wait(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    def _reap(self) -> None:
        for child in list(self.children):
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._bury(child, status)
                self.after_death()

    def _bury(self, child: Kept, status: int) -> None:
        child.pid = 0
        if self._stop_signals:
            return
        if child.is_retiring:
            self.children.remove(child)
            return
        if os.waitstatus_to_exitcode(status) == CANNOT_WORK:
            # It has said why; starting it again would change nothing.
            self._exit_code = CANNOT_WORK
            self.request_stop()
            return
        wait = child.backoff.after(time.monotonic() - child.started_at)
        child.due_at = time.monotonic() + wait
        why = child.why_died()
        log.warning(
            "%s %s%s; starting it again in %.0f s", child.label, words(status), f" ({why})" if why else "", wait
        )

    def _stop(self, children: Sequence[Kept]) -> None:
        self._signal(children, signal.SIGTERM)
        hurried_at = time.monotonic() + max(child.grace_seconds for child in children)
        if self._gone(children, lambda: time.monotonic() >= hurried_at or self._stop_signals > 1):
            return
        self._signal(children, signal.SIGTERM)
        killed_at = time.monotonic() + KILL_AFTER_SECONDS
        if self._gone(children, lambda: time.monotonic() >= killed_at):
            return
        log.warning("%s did not stop and is killed", ", ".join(child.label for child in children if child.pid))
        self._signal(children, signal.SIGKILL)
        self._gone(children, lambda: False)

    def _gone(self, children: Sequence[Kept], enough: Callable[[], bool]) -> bool:
        while any(child.pid for child in children) and not enough():
            self._wait(0.1)
            self._reap()
        return not any(child.pid for child in children)

    def _signal(self, children: Sequence[Kept], sig: signal.Signals) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, sig)

    def _on_stop_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop_signals += 1

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)


def words(status: int) -> str:
    """Say how a process ended."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"
