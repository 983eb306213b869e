"""Pushing entries without waiting for each one.

A push to an idle Redis is sent at once by its caller. While a push is under way, and for five milliseconds after it, further
ones are gathered and sent together by a thread: waking the server for each costs more than the rest of an enqueue. While
Redis hangs only the thread waits for it.

The row in SQL is committed before its entry is handed over. What is lost here, with the process or because Redis is away,
the monitor's sweep pushes again.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from weakref import WeakSet

from workers.broker import queues
from workers.broker.connection import QuickRedis
from workers.broker.queues import PushRef
from workers.domain.errors import Unavailable

GATHER_SECONDS = 0.005
PATIENCE_SECONDS = 0.25  # how long a caller waits for an answer of Redis
HANGING_SECONDS = 10.0  # after a wait that was too long, in which no caller waits again
MOST_WAITING = 10_000  # entries; with more, whoever pushes waits
FLUSH_SECONDS = 5.0
_BATCH = 500
_MOST_AT_ONCE = 50  # entries; the thread sends more while their caller goes on
_IDLE_SECONDS = 1.0  # after which the thread ends

_pushers: WeakSet[Pusher] = WeakSet()


class Pusher:
    """Sends entries in the order in which they were handed over, from any thread of this process."""

    def __init__(self, redis: QuickRedis) -> None:
        self._redis = redis
        self.reset()
        _pushers.add(self)

    def reset(self) -> None:
        """Forget what was handed over: in a forked child it is the parent's to send."""
        self._changed = threading.Condition()
        self._refs: list[PushRef] = []
        self._words: list[bytes] = []
        self._is_sending = False
        self._has_thread = False
        self._sent_at = float("-inf")
        self._hangs_until = float("-inf")

    def push(self, refs: Sequence[PushRef], words: Sequence[bytes] = ()) -> None:
        """Send these entries and then these words: at once, or soon when others are under way. Never raises Unavailable.

        Waits while 10,000 entries are waiting. While Redis hangs it waits for nothing: entries beyond these are left to the
        sweep.
        """
        with self._changed:
            is_idle = len(refs) <= _MOST_AT_ONCE and self._is_idle()
            if is_idle:
                self._is_sending = True
            else:
                self._changed.wait_for(lambda: len(self._refs) < MOST_WAITING or self._hangs())
                if len(self._refs) < MOST_WAITING:
                    self._gather(refs, words)
        if is_idle:
            self._send_at_once(refs, words)

    def flush(self, within_seconds: float = FLUSH_SECONDS) -> bool:
        """Send what was handed over; False when it could not be done in time."""
        until = time.monotonic() + within_seconds
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_sending, max(0.0, until - time.monotonic()))
                if self._is_sending:
                    return False
                if not self._refs:
                    return True
                batch = self._take()
            self._send(*batch)
            if time.monotonic() > until:
                return not self._refs

    def wait(self, within_seconds: float) -> bool:
        """Wait until what was handed over is sent; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._refs and not self._is_sending, within_seconds)

    def _is_idle(self) -> bool:
        has_settled = time.monotonic() - self._sent_at >= GATHER_SECONDS
        return has_settled and not self._is_sending and not self._refs and not self._hangs()

    def _hangs(self) -> bool:
        return time.monotonic() < self._hangs_until

    def _gather(self, refs: Sequence[PushRef], words: Sequence[bytes]) -> None:
        """Leave these to the thread, with the lock held."""
        self._refs += refs
        self._words += words
        self._ensure_thread()
        self._changed.notify_all()

    def _send_at_once(self, refs: Sequence[PushRef], words: Sequence[bytes]) -> None:
        began = time.monotonic()
        if self._send(refs, words, PATIENCE_SECONDS) or time.monotonic() - began < PATIENCE_SECONDS:
            return
        # Whether they have arrived is not known. Pushed again, an entry that waits stays one.
        with self._changed:
            self._gather(refs, words)

    def _ensure_thread(self) -> None:
        if self._has_thread:
            return
        try:
            threading.Thread(target=self._run, name="taskyard-pusher", daemon=True).start()
            self._has_thread = True
        except RuntimeError:  # the interpreter is ending; the flush at its end sends them
            pass

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._refs and not self._is_sending, _IDLE_SECONDS)
                if not self._refs:
                    self._has_thread = False
                    return
                is_full = len(self._refs) >= _BATCH
                wait = 0.0 if is_full else self._sent_at + GATHER_SECONDS - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            with self._changed:
                if self._is_sending or not self._refs:
                    continue
                batch = self._take()
            self._send(*batch)

    def _take(self) -> tuple[list[PushRef], list[bytes]]:
        """Take the next batch, with the lock held."""
        self._is_sending = True
        refs, self._refs = self._refs[:_BATCH], self._refs[_BATCH:]
        words, self._words = self._words[:_BATCH], self._words[_BATCH:]
        return refs, words

    def _send(self, refs: Sequence[PushRef], words: Sequence[bytes], within_seconds: float | None = None) -> bool:
        began, is_sent = time.monotonic(), False
        try:
            queues.push(self._redis, refs, words, within_seconds)
            is_sent = True
        except Unavailable:  # logged by the connection; the sweep pushes what is missing
            pass
        finally:
            with self._changed:
                self._is_sending = False
                self._sent_at = time.monotonic()
                is_slow = not is_sent and self._sent_at - began >= PATIENCE_SECONDS
                self._hangs_until = self._sent_at + HANGING_SECONDS if is_slow else float("-inf")
                self._changed.notify_all()
        return is_sent


def flush_all() -> None:
    """Send what was handed over to any pusher of this process."""
    for pusher in list(_pushers):
        pusher.flush()


def _reset_all() -> None:
    for pusher in list(_pushers):
        pusher.reset()


atexit.register(flush_all)
os.register_at_fork(after_in_child=_reset_all)
