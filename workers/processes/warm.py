"""The child processes of a worker: one that runs jobs, a spare that is ready to follow it, those that are ending.

A child imports the task modules after its fork. That takes time, so a spare has done it beforehand: after a kill, a time
limit or a renewal the next job does not wait for an import.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress

from workers.processes.child_process import ChildProcess
from workers.processes.deaths import MemoryWatch
from workers.processes.heartbeat import release_hold
from workers.processes.minder import Minder
from workers.processes.orders import Order
from workers.processes.output import Output, Unstored
from workers.settings import Settings

_TICK_SECONDS = 0.25
STOP_HOOK_SECONDS = 5.0


class WarmChild:
    """Has attempts run; `death` and `fault` say how the last child died, `told` is the live message of the last job."""

    def __init__(self, settings: Settings, worker: str, minder: Minder, before_fork: Callable[[bool], bool]) -> None:
        self._settings, self._worker, self._minder, self._before_fork = settings, worker, minder, before_fork
        self._current: ChildProcess | None = None
        self._spare: ChildProcess | None = None
        self._ending: list[tuple[ChildProcess, float]] = []  # each with the time at which it is killed
        self._keeps_spare = bool(settings.task_modules) and not settings.preload
        self._forks = 0
        self._memory = MemoryWatch()
        self._is_ahead = self._died_ahead = (
            False  # an order is laid ready for the child; it died after it had taken that
        )
        self._last_output: Output | None = None  # of the last child that died while it ran a job
        self.peak_memory_bytes = 0
        self.death = ""
        self.told = b""
        self.fault: str | None = None

    @property
    def pid(self) -> int:
        """The process id of the child that runs jobs; 0 when there is none."""
        return self._current.pid if self._current is not None else 0

    def start(self, job_id: str, attempt: int, *, quiet: bool) -> None:
        """Have an attempt run; `listen` returns its outcome.

        `quiet` leaves it to the caller to notify viewers that it runs, should it last. What was sent ahead is this attempt:
        the child may run it already.
        """
        if self._died_ahead:
            return
        is_taken = not self.call_back()
        self._is_ahead = False
        current = self._ready()
        if is_taken:
            return
        order = Order(job_id, attempt, quiet).line()
        self._memory.look()
        try:
            current.send(order)
        except OSError:
            # It died while it was idle, before it heard of this job: another takes it.
            self._reap()
            self._ready().send(order)

    def send_ahead(self, job_id: str, attempt: int) -> None:
        """Queue the attempt for which `start` is called next: the child takes it after its current attempt."""
        if self._current is not None:
            self._current.send_ahead(Order(job_id, attempt, quiet=True).line())
            self._is_ahead = True

    def call_back(self) -> bool:
        """Take back what was sent ahead, if anything was; False when the child runs it, or has died of it."""
        if not self._is_ahead:
            return not self._died_ahead
        is_back = self._current is not None and self._current.call_back()
        self._is_ahead = not is_back
        return is_back

    def answers(self, within_seconds: float) -> bool:
        """Return whether the child has ended the attempt, or itself, within this time."""
        return self._current is not None and self._current.has_answer(within_seconds)

    def listen(self, tick: Callable[[], object]) -> str | None:
        """Wait for the end of the attempt; its outcome, or None when the child died. `tick` is called while it is silent."""
        if self._died_ahead:
            self._died_ahead = False
            return None
        current = self._current
        assert current is not None
        while True:
            line = current.read_line(_TICK_SECONDS)
            if line is None and not current.has_ended():
                self._limit_import(current)
                self._memory.look()
                self.tend()
                tick()
            elif not line:
                if line == b"":
                    current.await_end()
                self._reap()
                return None
            elif not current.note_ready(line):
                return self._answer(line)

    def tend(self) -> None:
        """Start what is missing and collect what has ended; called between jobs and while one is silent. Never waits."""
        with suppress(OSError):  # no process can be made now; the next job or the next call tries again
            self._start_missing()
        self._collect_ended()

    def notify(self, notice: int) -> None:
        """Send the child that runs a job a notice."""
        if self._current is not None:
            self._current.notify(notice)

    def signal(self, sig: signal.Signals) -> None:
        """Send the child that runs a job a signal."""
        if self._current is not None:
            self._current.signal(sig)

    def kill(self) -> None:
        """Kill the child that runs a job, with everything in its process group; harmless when it is gone."""
        if self._current is not None:
            self._current.kill()

    def recover(self, job_id: str, attempt: int, is_stored: Callable[[int], bool]) -> Unstored:
        """Return what an attempt had said that is not stored, after the death of the child that ran it."""
        return self._last_output.recover(job_id, attempt, is_stored) if self._last_output else Unstored(None, {})

    def end(self) -> None:
        """End the child that runs a job; what it said can still be recovered."""
        self._reap()

    def close_output(self) -> None:
        """Give up what the last child said that died; it is kept after its death until then."""
        if self._last_output is not None:
            self._last_output.close()
        self._last_output = None

    def close(self) -> None:
        """End every child; hooks that run when a child stops have a few seconds."""
        for one in (self._current, self._spare):
            if one is not None:
                self._let_end(one)
        self._current = self._spare = None
        while self._ending:
            self._collect_ended()
            if self._ending:
                time.sleep(0.01)
        self._minder.mind(0)
        self.close_output()

    def time_limit(self) -> tuple[float, float] | None:
        """Return when the present attempt began, by `uptime`, and how many seconds it may run; None before it began.

        The child leaves it in shared memory, so that the limit is known while SQL cannot be asked.
        """
        return self._current.page.limit() if self._current is not None else None

    def memory_bytes(self) -> int:
        """Return the resident memory of the children. May be called from another thread."""
        return sum(one.memory_bytes() for one in (self._current, self._spare) if one is not None)

    def cpu_percent(self) -> float:
        """Return the children's share of a core since the last call."""
        return sum(one.cpu_percent() for one in (self._current, self._spare) if one is not None)

    def _start_missing(self) -> None:
        if self._current is None and not self._died_ahead:
            self._start_current()
        for one in (self._current, self._spare):
            if one is not None and not one.is_ready and (line := one.read_line(0)):
                one.note_ready(line)
        if self._spare is not None and self._spare.has_ended():
            self._discard(self._spare)
            self._spare = None
        if self._keeps_spare and self._spare is None and self._current is not None and self._current.is_ready:
            self._spare = self._fork() if self._before_fork(False) else None

    def _ready(self) -> ChildProcess:
        if self._current is None:
            self._start_current()
        assert self._current is not None
        self._current.begin_order()
        return self._current

    def _start_current(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None and spare.has_ended():
            self._discard(spare)
            spare = None
        self.close_output()
        if spare is None:
            self._before_fork(True)
            spare = self._fork()
        self._current = spare
        self._minder.mind(self._current.pid)

    def _fork(self) -> ChildProcess:
        self._forks += 1
        others = [one for one in (self._current, self._spare, *(pair[0] for pair in self._ending)) if one is not None]
        unshared = [self._minder.pipe, *(number for one in others for number in one.descriptors())]
        try:
            return ChildProcess(self._settings, self._worker, unshared, is_first=self._forks == 1)
        except OSError:
            release_hold()
            raise

    def _limit_import(self, current: ChildProcess) -> None:
        # The trial import has shown that it can be done in time; this process hangs.
        if not current.is_ready and time.monotonic() - current.started_at > 2 * self._settings.import_seconds:
            current.kill()

    def _answer(self, line: bytes) -> str:
        word, _, rest = line.partition(b" ")
        stays, _, self.told = rest.partition(b" ")
        if stays != b"stay" and self._current is not None:
            self._is_ahead = False  # a child that leaves takes nothing more
            self._let_end(self._current)
            self._current = None
            self._minder.mind(0)
        return word.decode(errors="replace")

    def _let_end(self, one: ChildProcess) -> None:
        one.hang_up()
        grace = STOP_HOOK_SECONDS if one.has_stop_hooks else 0.0
        self._ending.append((one, time.monotonic() + grace))
        self._collect_ended()

    def _collect_ended(self) -> None:
        now = time.monotonic()
        for pair in list(self._ending):
            one, until = pair
            if one.has_ended() or now >= until:
                self._discard(one)
                self._ending.remove(pair)

    def _discard(self, one: ChildProcess) -> None:
        one.reap(self._memory)
        one.output.close()

    def _reap(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            self._died_ahead = self._is_ahead and not current.call_back()
            self._is_ahead = False
            death = current.reap(self._memory)
            self.death, self.fault, self.peak_memory_bytes = death.words, death.fault, death.peak_memory_bytes
            self.close_output()
            self._last_output = current.output
            self._minder.mind(0)
