"""The job that this process runs now: its progress, its log, its wish to be canceled.

Progress and log lines leave at most every 40 ms, the first at once and the last always; rows are written once a second.
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

from workers.domain.clock import rfc3339, utcnow
from workers.domain.errors import Unavailable
from workers.domain.masking import MASK, JobMasker
from workers.domain.texts import safe_text
from workers.domain.untrusted import lines_of, visible, visible_line
from workers.registry import REGISTRY
from workers.services import execution, files
from workers.store import logs
from workers.yard import Yard

PUBLISH_SECONDS = 0.04
SAVE_SECONDS = 1.0
LOG_SECONDS = 0.2
LOG_BATCH = 200
MAX_LINE = 2_000
MAX_LINES = 10_000
MAX_LOG_BYTES = 5_000_000
MAX_MESSAGE = 1_000
MAX_MASKED = 65_536  # characters of a line or message that are masked before it is cut

LARGEST = 2**63 - 1
_LIVE_BYTES = 40_000
_KEY_BEGINS, _KEY_ENDS, _KEY = "-----BEGIN ", "-----END ", "PRIVATE KEY"


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


class Canceled(BaseException):
    """Somebody canceled this job; raised in the task by `check_canceled` and `progress`, not caught by `except Exception`."""


class Fenced(BaseException):
    """This attempt was reset or ended from outside; nothing that it does counts any more."""


class RunningJob:
    """One attempt in the making; used by the task's thread and the child's flushing thread."""

    def __init__(self, yard: Yard, row: Any, wake: Callable[[], None]) -> None:
        self.yard, self.row, self._wake = yard, row, wake
        self.job_id: str = row["id"]
        self.attempt: int = row["attempt"]
        self.cancel_requested = self._fenced = False
        self.progress: dict[str, Any] = {}
        self._version: int = row["version"]
        self._lock = threading.RLock()
        self._lines: list[dict[str, Any]] = []
        self._line_count = self._byte_count = 0
        self._published_at, self._saved_at = 0.0, time.monotonic()
        self._logged_at = self._saved_at
        self._unpublished = self._unsaved = False
        self._rate = _Rate()
        self._in_key = False

    @cached_property
    def masker(self) -> JobMasker:
        """What masks the words of this job, its own secrets among them."""
        definition = REGISTRY.get(self.row["task"])
        return JobMasker.of_payload(self.row["payload"], definition.secret if definition else ())

    @property
    def files(self) -> Path:
        """The folder for files that the job makes, made on first use."""
        return files.make_folder(self.yard.settings.files_dir, self.job_id)

    def check_canceled(self) -> None:
        """Raise Canceled when somebody has asked for it, Fenced when the attempt is no longer this one's."""
        if self.cancel_requested:
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
            self._changed()

    def tell_step(self, name: str) -> None:
        """Take note of the step that the job is in. Raises Canceled."""
        self.check_canceled()
        with self._lock:
            self.progress["step"] = self._shown(name, 200)
            self._changed()

    def add_text(self, text: object, level: str) -> None:
        """Keep text in the log: each of its lines is one of the log, masked together."""
        for line in lines_of(self.masker.text(safe_text(text, MAX_LOG_BYTES))):
            self.add_line(line, level)

    def add_line(self, text: str, level: str) -> None:
        """Keep a line of log; past the bound only a last word is kept."""
        if self._line_count >= MAX_LINES:
            return
        with self._lock:
            if self._line_count >= MAX_LINES or self._byte_count >= MAX_LOG_BYTES:
                return
            line = self._line(text)
            self._line_count += 1
            self._byte_count += len(line)
            self._lines.append({"at": utcnow(), "level": level, "line": line})
            if self._line_count >= MAX_LINES or self._byte_count >= MAX_LOG_BYTES:
                last = f"The log is full: {MAX_LINES:,} lines or 5 MB are kept; what follows is left out."
                self._lines.append({"at": utcnow(), "level": "warning", "line": last})
            full = len(self._lines) >= LOG_BATCH
        if full:
            self.flush(force=False)
        else:
            self._wake()

    def flush(self, force: bool = True) -> float | None:
        """Send and keep what is due (all with force); seconds until more is due, None when nothing waits."""
        now = time.monotonic()
        with self._lock:
            message = self._due_message(now, force)
            lines = self._due_lines(now, force)
            values = self._due_values(now, force)
        # Outside of the lock: the task goes on while SQL or Redis lets this thread wait.
        if lines:
            self._keep_lines(lines)
        if values and not force:
            self._save(values)
        if message:
            self.yard.live.publish(message)
        waits = self._unpublished or self._unsaved or bool(self._lines)
        return PUBLISH_SECONDS if waits else None

    def _shown(self, text: object, longest: int) -> str:
        return _cut(visible_line(self.masker.text(safe_text(text, MAX_MASKED))), longest)

    def _line(self, text: str) -> str:
        # A private key is printed line by line: what lies between its ends is masked as one.
        was_in_key = self._in_key
        begins = _KEY_BEGINS in text and _KEY in text
        self._in_key = (was_in_key or begins) and _KEY_ENDS not in text
        if was_in_key and self._in_key:
            return MASK
        return _cut(visible(self.masker.text(safe_text(text, MAX_MASKED))), MAX_LINE)

    def _changed(self) -> None:
        self._unpublished = self._unsaved = True
        self._wake()

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

    def _due_lines(self, now: float, force: bool) -> list[dict[str, Any]]:
        if not self._lines or not (force or len(self._lines) >= LOG_BATCH or now - self._logged_at >= LOG_SECONDS):
            return []
        self._logged_at = now
        lines, self._lines = self._lines, []
        return lines

    def _due_values(self, now: float, force: bool) -> dict[str, Any]:
        if not self._unsaved or not (force or now - self._saved_at >= SAVE_SECONDS):
            return {}
        self._saved_at, self._unsaved = now, False
        return {**self.progress, "version": self._version}

    def _keep_lines(self, lines: list[dict[str, Any]]) -> None:
        try:
            with self.yard.database.write() as connection:
                logs.append(connection, self.job_id, self.attempt, lines)
        except Unavailable:
            with self._lock:  # the database is away: they are kept until it is back
                self._lines[:0] = lines
            return
        told: list[dict[str, Any]] = []
        size = 0
        for line in lines[-LOG_BATCH:]:
            size += len(line["line"].encode()) + 100
            if told and size > _LIVE_BYTES:
                self._tell_lines(told)
                told, size = [], 0
            told.append({**line, "at": rfc3339(line["at"])})
        self._tell_lines(told)

    def _tell_lines(self, lines: list[dict[str, Any]]) -> None:
        self.yard.live.publish({"type": "log", "job_id": self.job_id, "attempt": self.attempt, "lines": lines})

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
