"""The relay: hears what workers publish, folds it together by room, and sends it to the browsers of this process.

A first message leaves at once; what follows within 25 ms goes together, the newest word on each job only. So the cost grows
with rooms and jobs, not with messages and viewers, and the last state of a job always arrives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

WINDOW_SECONDS = 0.025
MAX_LINES = 500
Emit = Callable[[str, Any, str], None]  # event, data, room


class Coalescer:
    """What waits to be sent, by room; pure of any network so that it can be tested alone."""

    def __init__(self, emit: Emit, watched: Callable[[str], bool]) -> None:
        self._emit, self._watched = emit, watched
        self._progress: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, dict[tuple[str, str], Any]] = {}
        self._lines: dict[str, list[Any]] = {}
        self._published: dict[str, list[Any]] = {}
        self.counts_are_old = False

    def take(self, raw: bytes) -> None:
        """Take one message of the channel; what cannot be read is passed over."""
        try:
            message = json.loads(raw)
            kind = message.pop("type")
            if kind == "progress":
                self._take_progress(message)
            elif kind == "changed":
                self._take_changed(message)
            elif kind == "log":
                self._take_log(message)
            elif kind == "published":
                self._take_published(message)
            elif kind == "alert" and self._watched("alerts"):
                self._emit("alert", message, "alerts")
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    def flush(self) -> bool:
        """Send what waits; tells whether there was anything."""
        sent = False
        for room, jobs in self._drain(self._progress):
            self._emit("progress", list(jobs.values()), room)
            sent = True
        for room, things in self._drain(self._changed):
            self._emit("changed", list(things.values()), room)
            sent = True
        for room, lines in self._drain(self._lines):
            self._emit("log", {"job_id": room.removeprefix("job:"), "lines": lines}, room)
            sent = True
        for room, events in self._drain(self._published):
            for event in events:
                self._emit("published", event, room)
            sent = True
        return sent

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._progress or self._changed or self._lines or self._published)

    def _take_progress(self, message: dict[str, Any]) -> None:
        job_id = str(message["job_id"])
        for room in self._rooms(f"job:{job_id}", "jobs", "overview"):
            jobs = self._progress.setdefault(room, {})
            known = jobs.get(job_id)
            if known is None or known["version"] <= message["version"]:
                jobs[job_id] = message

    def _take_changed(self, message: dict[str, Any]) -> None:
        kind, name = str(message["kind"]), str(message["id"])
        rooms = {
            "job": ("jobs", "overview", f"job:{name}"),
            "queue": ("queues", "overview"),
            "worker": ("workers", "overview"),
        }
        told = {"kind": kind, "id": name, "status": message.get("status"), "version": message.get("version", 0)}
        for room in self._rooms(*rooms.get(kind, (f"{kind}s", f"{kind}:{name}"))):
            self._changed.setdefault(room, {})[kind, name] = told
        self.counts_are_old = True

    def _take_log(self, message: dict[str, Any]) -> None:
        for room in self._rooms(f"job:{message['job_id']}"):
            lines = self._lines.setdefault(room, [])
            lines.extend({**line, "attempt": message.get("attempt")} for line in message["lines"])
            del lines[:-MAX_LINES]

    def _take_published(self, message: dict[str, Any]) -> None:
        for room in self._rooms(f"channel:{message['channel']}"):
            events = self._published.setdefault(room, [])
            events.append(message)
            del events[:-MAX_LINES]

    def _rooms(self, *names: str) -> Iterable[str]:
        return [name for name in names if self._watched(name)]

    @staticmethod
    def _drain(waiting: dict[str, Any]) -> list[tuple[str, Any]]:
        items = list(waiting.items())
        waiting.clear()
        return items
