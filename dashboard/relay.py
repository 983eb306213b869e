"""The relay: hears what workers publish, folds it together by room, and sends it to the browsers of this process.

A first message leaves at once; what follows within 25 ms goes together, the newest word on each job only. In a room with
many viewers it is a longer time, so that sending takes a bounded share of the process. So the cost grows with rooms and
jobs, not with messages, and the last state of a job always arrives.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from workers.broker.live import HEARTBEAT, MAX_BYTES

WINDOW_SECONDS = 0.025
SLICE_SECONDS = 0.005
SOON_SECONDS = 0.000_01  # above 0, so that the event loop looks at every socket
MAX_ROOM_BYTES = 128_000  # of lines or of published events, for one room and window
MAX_WAITING_BYTES = 4_000_000  # of everything that one window takes
MAX_LINES = 500
# What is sent to a room waits for so long per viewer after the last time. Pages read again at most once a second what has
# changed; bars move smoothly in between.
PROGRESS_SECONDS_PER_VIEWER = 0.002
CHANGED_SECONDS_PER_VIEWER = 0.005
LONGEST_PAUSE_SECONDS = 1.0
STATUS_ROOM = "status"  # of every page: the heartbeat and the counts
Emit = Callable[[str, Any, str], None]  # event, data, room


def pass_on(pubsub: Any, coalescer: Coalescer, timeout: float, sleep: Callable[[float], Any]) -> None:
    """Wait for a message, send it, and send together what follows within the window; others run every few milliseconds."""
    message = pubsub.get_message(timeout=coalescer.seconds_to_wait(timeout))
    if message is None:
        coalescer.flush()
        return
    coalescer.take(message["data"])
    coalescer.flush()
    sliced_at = time.monotonic()
    until = sliced_at + WINDOW_SECONDS
    while (left := until - time.monotonic()) > 0:
        message = pubsub.get_message(timeout=left)
        if message is not None:
            coalescer.take(message["data"])
        if time.monotonic() - sliced_at > SLICE_SECONDS:
            sleep(SOON_SECONDS)
            sliced_at = time.monotonic()
    coalescer.flush()
    sleep(SOON_SECONDS)


class Recent:
    """The last items of a room, within a number and a size."""

    def __init__(self) -> None:
        self.items: deque[tuple[Any, int]] = deque()
        self._bytes = 0

    def add(self, item: Any, size: int) -> None:
        """Add an item; the oldest ones make room."""
        self.items.append((item, size))
        self._bytes += size
        while len(self.items) > MAX_LINES or (self._bytes > MAX_ROOM_BYTES and len(self.items) > 1):
            self._bytes -= self.items.popleft()[1]


class Coalescer:
    """What waits to be sent, by room; pure of any network so that it can be tested alone.

    `sequence` counts the messages that may have changed what a page shows; `heartbeat_at` is when the last heartbeat of a
    scheduler arrived, on this machine's steady clock.
    """

    def __init__(
        self,
        emit: Emit,
        watched: Callable[[str], bool],
        viewers: Callable[[str], int] = lambda _room: 1,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._emit, self._watched, self._viewers, self._on_change = emit, watched, viewers, on_change
        self.sequence = 0
        self.heartbeat_at: float | None = None
        self._due_at: dict[tuple[str, str], float] = {}  # event and room: when it may be sent again
        self._progress: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, dict[tuple[str, str], Any]] = {}
        self._lines: dict[str, Recent] = {}
        self._published: dict[str, Recent] = {}
        self._taken_bytes = 0
        self.counts_are_old = False

    def take(self, raw: bytes) -> None:
        """Take one message of the channel; what cannot be read, is too large or one too many is passed over."""
        if len(raw) > MAX_BYTES or self._taken_bytes > MAX_WAITING_BYTES:
            return
        self._taken_bytes += len(raw)
        try:
            message = json.loads(raw)
            kind = message.pop("type")
            if kind == HEARTBEAT:
                self._take_heartbeat()
                return
            self.sequence += 1
            self._on_change()
            if kind == "progress":
                self._take_progress(message)
            elif kind == "changed":
                self._take_changed(message)
            elif kind == "log":
                self._take_log(message)
            elif kind == "published":
                self._take_published(message, len(raw))
            elif kind == "alert":
                self.counts_are_old = True
                if self._watched("alerts"):
                    self._emit("alert", message, "alerts")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def flush(self) -> bool:
        """Send what waits and is due; returns whether there was anything."""
        self._taken_bytes = 0
        progress = self._take_due("progress", self._progress, PROGRESS_SECONDS_PER_VIEWER)
        changed = self._take_due("changed", self._changed, CHANGED_SECONDS_PER_VIEWER)
        logs, published = self._drain(self._lines), self._drain(self._published)
        for room, jobs in progress:
            self._emit("progress", list(jobs.values()), room)
        for room, things in changed:
            self._emit("changed", list(things.values()), room)
        for room, lines in logs:
            last = [line for line, _size in lines.items]
            self._emit("log", {"job_id": room.removeprefix("job:"), "lines": last}, room)
        for room, events in published:
            for event, _size in events.items:
                self._emit("published", event, room)
        return bool(progress or changed or logs or published)

    def seconds_to_wait(self, longest: float) -> float:
        """Return how long the relay may wait for a message before something that waits is due."""
        due_at = [self._due_at.get(("progress", room), 0.0) for room in self._progress]
        due_at += [self._due_at.get(("changed", room), 0.0) for room in self._changed]
        return max(0.0, min(longest, min(due_at) - time.monotonic())) if due_at else longest

    def _take_due(self, event: str, waiting: dict[str, Any], seconds_per_viewer: float) -> list[tuple[str, Any]]:
        now = time.monotonic()
        self._due_at = {key: due_at for key, due_at in self._due_at.items() if due_at > now}
        due = [room for room in waiting if (event, room) not in self._due_at]
        for room in due:
            pause = min(self._viewers(room) * seconds_per_viewer, LONGEST_PAUSE_SECONDS)
            if pause > WINDOW_SECONDS:
                self._due_at[event, room] = now + pause
        return [(room, waiting.pop(room)) for room in due]

    def _take_heartbeat(self) -> None:
        self.heartbeat_at = time.monotonic()
        if self._watched(STATUS_ROOM):
            self._emit("heartbeat", {}, STATUS_ROOM)

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
            lines = self._lines.setdefault(room, Recent())
            for line in message["lines"]:
                lines.add({**line, "attempt": message.get("attempt")}, len(str(line.get("line", ""))) + 100)

    def _take_published(self, message: dict[str, Any], size: int) -> None:
        for room in self._rooms(f"channel:{message['channel']}"):
            self._published.setdefault(room, Recent()).add(message, size)

    def _rooms(self, *names: str) -> Iterable[str]:
        return [name for name in names if self._watched(name)]

    @staticmethod
    def _drain(waiting: dict[str, Any]) -> list[tuple[str, Any]]:
        items = list(waiting.items())
        waiting.clear()
        return items
