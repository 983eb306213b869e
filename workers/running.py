"""The job that this process runs now: its progress, its log, its wish to be canceled.

Progress and log lines leave at most every 40 ms, the first at once and the last always; rows are written once a second.
What is not written yet is in the journal, which the worker reads when this process dies.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from workers.domain.errors import Unavailable
from workers.domain.log_bounds import plan_waiting
from workers.domain.masking import JobMasker
from workers.domain.texts import safe_text
from workers.domain.untrusted import lines_of, visible_line
from workers.job_log import MAX_TEXT, JobLog
from workers.journal import Journal
from workers.registry import find_task
from workers.services import execution, files, job_logs
from workers.services.job_logs import MAX_MASKED
from workers.store import logs
from workers.task_errors import Canceled, Fenced
from workers.yard import Yard

PUBLISH_SECONDS = 0.04
SAVE_SECONDS = 1.0
LOG_SECONDS = 0.2
TAIL_SECONDS = 1.0  # between writes of a log whose head is complete: each may replace what the one before wrote
LOG_RETRY_SECONDS = 1.0
MAX_MESSAGE = 1_000

LARGEST = 2**63 - 1


class Current:
    """Which job this process runs; seen by every thread that the task starts, and by no process that it forks."""

    def __init__(self) -> None:
        self._job: RunningJob | None = None
        self._pid = 0

    def get(self) -> RunningJob | None:
        """Tell the job; None outside one."""
        return self._job if self._job is None or self._pid == os.getpid() else None

    def set(self, job: RunningJob | None) -> None:
        """Set the job, or None."""
        self._job, self._pid = job, os.getpid()


current = Current()


class RunningJob:
    """One attempt in the making; used by the task's thread and the child's flushing thread."""

    def __init__(self, yard: Yard, row: Any, wake: Callable[[], None], journal: Journal | None = None) -> None:
        self.yard, self.row = yard, row
        self.job_id: str = row["id"]
        self.attempt: int = row["attempt"]
        self.cancel_requested = self.is_stopping = self._fenced = False
        self.was_canceled_in_thread = False
        self.progress: dict[str, Any] = {}
        self._version: int = row["version"]
        self._lock, self._storing = threading.RLock(), threading.RLock()
        self._wake, self._is_woken = wake, False
        self._journal = journal or Journal()
        self._journal.begin(self.job_id, self.attempt)
        self._published_at, self._saved_at = 0.0, time.monotonic()
        self._logged_at = self._full_at = self._saved_at
        self._unpublished = self._unsaved = False
        self._rate = _Rate()

    @cached_property
    def masker(self) -> JobMasker:
        """What masks the words of this job, its own secrets among them."""
        definition = find_task(self.row["task"])
        return JobMasker.of_payload(self.row["payload"], definition.secret if definition else ())

    @cached_property
    def log(self) -> JobLog:
        """What it prints and logs; made on first use."""
        return JobLog(self._journal, self._wake_once)

    @property
    def has_log(self) -> bool:
        """Whether it has printed or logged anything."""
        return "log" in self.__dict__

    @property
    def files(self) -> Path:
        """The folder for files that the job makes, made on first use."""
        return files.make_folder(self.yard.settings.files_dir, self.job_id)

    def check_canceled(self) -> None:
        """Raise Canceled when somebody has asked for it, Fenced when the attempt is no longer this one's."""
        if self.cancel_requested:
            if threading.current_thread() is not threading.main_thread():
                self.was_canceled_in_thread = True
            raise Canceled
        if self._fenced:
            raise Fenced

    def tell_progress(self, done: Any, total: Any, message: object | None) -> None:
        """Take note of progress; what is no number leaves it indeterminate. What is due goes out. Raises Canceled."""
        self.check_canceled()
        count, whole = _number(done), _number(total)
        with self._lock:
            self.progress.update(done=_whole(count), total=_whole(whole))
            if message is not None:
                self.progress["message"] = self._shown(message, MAX_MESSAGE)
            if count is not None and whole:
                self.progress["progress"] = round(min(100.0, max(0.0, 100.0 * (count / whole))), 2)
            elif count is None:
                self.progress["progress"] = None
            if count is not None:
                self._rate.add(count)
            self._record()
            self._changed()

    def tell_step(self, name: str) -> None:
        """Take note of the step that the job is in. Raises Canceled."""
        self.check_canceled()
        with self._lock:
            self.progress["step"] = self._shown(name, 200)
            self._record()
            self._changed()

    def add_text(self, text: object, level: str) -> None:
        """Keep text in the log: each of its lines is one of the log, masked together."""
        self.add_line("\n".join(lines_of(self.masker.text(safe_text(text, MAX_TEXT)))), level)

    def add_line(self, text: str, level: str) -> None:
        """Keep lines in the log."""
        self.log.add(text, level)
        self._store_when_full()

    def write(self, source: int, text: str) -> None:
        """Take text that the task wrote to a stream."""
        self.log.write(source, text)
        self._store_when_full()

    def receive(self, descriptor: int) -> None:
        """Take what waits in the pipe behind descriptors 1 and 2."""
        self.log.receive(descriptor)
        self._store_when_full()

    def flush(self, force: bool = True) -> float | None:
        """Send and keep what is due (all with force); seconds until more is due, None when nothing waits."""
        self._is_woken = False
        now = time.monotonic()
        with self._lock:
            message = self._due_message(now, force)
            values = self._due_values(now, force)
        # Outside of the lock: the task goes on while SQL or Redis lets this thread wait.
        if self.has_log and (force or now - self._logged_at >= (TAIL_SECONDS if self.log.is_cut else LOG_SECONDS)):
            self._store_lines(now)
        if values and not force:
            self._save(values)
        if message:
            self.yard.live.publish(message)
        waits = self._unpublished or self._unsaved or (self.has_log and self.log.is_waiting)
        return PUBLISH_SECONDS if waits else None

    def _wake_once(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def _store_when_full(self) -> None:
        if self.log.is_full and (now := time.monotonic()) >= self._full_at:
            self._store_lines(now)

    def _store_lines(self, now: float) -> None:
        with self._storing:
            self._logged_at = now
            waiting = self.log.take()
            if waiting is None:
                return
            try:
                plan = plan_waiting(waiting, job_logs.shown_by(self.masker))
                with self.yard.database.write() as connection:
                    state, lines = logs.keep(connection, self.job_id, self.attempt, plan)
                    self.log.storing(state)
            except Unavailable:
                self.log.kept_back()  # the database is away: they are kept until it is back
                self._full_at = time.monotonic() + LOG_RETRY_SECONDS
                return
            except BaseException:
                self.log.kept_back()
                raise
            self.log.stored(waiting, state)
        job_logs.tell(self.yard, self.job_id, self.attempt, lines)

    def _shown(self, text: object, longest: int) -> str:
        return _cut(visible_line(self.masker.text(safe_text(text, MAX_MASKED))), longest)

    def _record(self) -> None:
        told = self.progress.get
        self._journal.write_progress(told("done"), told("total"), told("progress"), told("message"), told("step"))

    def _changed(self) -> None:
        self._unpublished = self._unsaved = True
        self._wake_once()

    def _due_message(self, now: float, force: bool) -> dict[str, Any]:
        if not self._unpublished or not (force or now - self._published_at >= PUBLISH_SECONDS):
            return {}
        self._published_at, self._unpublished = now, False
        self._version += 1
        rate = self._rate.per_second()
        done, total = self.progress.get("done"), self.progress.get("total")
        eta = (total - done) / rate if rate and total is not None and done is not None and total >= done else None
        told = {name: self.progress.get(name) for name in ("progress", "done", "total", "message", "step")}
        return {
            "type": "progress",
            "job_id": self.job_id,
            "version": self._version,
            **told,
            "rate": round(rate, 3) if rate else None,
            "eta_seconds": round(eta, 1) if eta is not None else None,
        }

    def _due_values(self, now: float, force: bool) -> dict[str, Any]:
        if not self._unsaved or not (force or now - self._saved_at >= SAVE_SECONDS):
            return {}
        self._saved_at, self._unsaved = now, False
        return {**self.progress, "version": self._version}

    def _save(self, values: dict[str, Any]) -> None:
        try:
            self._fenced = not execution.save_progress(self.yard, self.job_id, self.attempt, values)
        except Unavailable:
            self._unsaved = True


class _Rate:
    """Records a second, from the last ten seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def add(self, done: float) -> None:
        now = time.monotonic()
        if self._points and now - self._points[-1][0] < PUBLISH_SECONDS and len(self._points) > 1:
            self._points[-1] = (now, done)
        else:
            self._points.append((now, done))
        if len(self._points) > 2 and now - self._points[0][0] > 10:
            del self._points[0]

    def per_second(self) -> float | None:
        if len(self._points) < 2:
            return None
        (start, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - start) if end > start and last > first else None


def _cut(text: str, longest: int) -> str:
    return text[: longest - 1] + "…" if len(text) > longest else text


def _number(value: Any) -> float | None:
    """Return a finite number within the bounds of a row; None for what is none."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except Exception:
        return None
    return max(-LARGEST, min(LARGEST, number)) if math.isfinite(number) else None


def _whole(number: float | None) -> int | None:
    return None if number is None else max(-LARGEST, min(LARGEST, int(number)))
