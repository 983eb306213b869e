"""Live updates: Socket.IO on `/live`, fed by one relay in each web process.

Client: `watch {rooms}` and `unwatch {rooms}`, answered `{ok, rooms}`. Server: `progress`, `changed`, `counts`, `log`, `alert`,
`published`, and `resync` when messages may have been missed: then pages read again what they show.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any, cast

from flask import Flask, request
from flask_login import current_user
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import Namespace, SocketIO, join_room, leave_room
from gevent.monkey import is_module_patched
from redis.exceptions import RedisError

from dashboard.auth import Person
from dashboard.context import throttle
from dashboard.live_gate import LiveGate
from dashboard.relay import WINDOW_SECONDS, Coalescer
from dashboard.security import WRONG_TOKENS_A_MINUTE
from dashboard.websockets import MAX_MESSAGE_BYTES
from workers.broker.live import CHANNEL
from workers.domain.clock import utcnow
from workers.domain.errors import TaskyardError, Throttled
from workers.services import statistics, tokens
from workers.services.throttling import Limit, network_of
from workers.store import users
from workers.yard import Yard

log = logging.getLogger("taskyard.live")
NAMESPACE = "/live"
ROOM = re.compile(
    r"overview|jobs|queues|workers|batches|alerts|schedules|triggers|sweeps|tasks"
    r"|(?:job|batch|bulk_action):[0-9a-f-]{36}|channel:[A-Za-z0-9_.:-]{1,64}"
)
MAX_ROOMS = 100
SLICE = 200
COUNTS_SECONDS = 1.0
RECHECK_SECONDS = 20.0
COUNT_ROOMS = ("overview", "jobs", "queues")

socketio = SocketIO()


def init_live(app: Flask) -> None:
    """Serve live updates from this application."""
    socketio.init_app(
        app,
        async_mode="gevent" if is_module_patched("socket") else "threading",
        cors_allowed_origins=None,  # the same origin only
        max_http_buffer_size=MAX_MESSAGE_BYTES,
        ping_interval=20,
        ping_timeout=20,
        manage_session=False,
        logger=False,
        engineio_logger=False,
    )
    namespace = app.extensions["live"] = LiveNamespace(NAMESPACE, cast(Yard, app.extensions["yard"]))
    socketio.on_namespace(namespace)
    namespace.gate = LiveGate(socketio, NAMESPACE, namespace.start_tasks)


class LiveNamespace(Namespace):  # type: ignore[misc]
    """Who listens to what in this process."""

    gate: LiveGate

    def __init__(self, namespace: str, yard: Yard) -> None:
        super().__init__(namespace)
        self._yard = yard
        self._people: dict[str, tuple[str, str]] = {}
        self._rooms: dict[str, set[str]] = {}
        self._watching: dict[str, int] = {}
        self._tasks: list[Any] = []
        self._closed = False

    def on_connect(self, auth: Any = None) -> None:
        """Let in whoever is signed in, by session or token; refuse everybody else."""
        who = self._who(auth)
        if who is None:
            raise Refused("Sign in, or give a token.")
        self._people[request.sid] = who  # type: ignore[attr-defined]
        self._rooms[request.sid] = set()  # type: ignore[attr-defined]
        self.start_tasks()

    def start_tasks(self) -> None:
        """Start what runs in the background, with the first connection."""
        if not self._tasks:
            self._tasks = [socketio.start_background_task(self._relay), socketio.start_background_task(self._recheck)]

    def close(self) -> None:
        """End what runs in the background, before the connections that it uses are closed."""
        self._closed = True
        for task in self._tasks:
            task.join()

    def on_disconnect(self, *_reason: Any) -> None:
        """Forget a client."""
        sid = request.sid  # type: ignore[attr-defined]
        self._people.pop(sid, None)
        for room in self._rooms.pop(sid, set()):
            self._count(room, -1)

    def on_watch(self, message: Any) -> dict[str, Any]:
        """Let a client into rooms; names that are none are refused, all of them."""
        sid = request.sid  # type: ignore[attr-defined]
        wanted = _names(message)
        mine = self._rooms.get(sid)
        if wanted is None or mine is None or len(mine | wanted) > MAX_ROOMS:
            return {"ok": False, "error": f"rooms is a list of at most {MAX_ROOMS} known names"}
        for room in wanted - mine:
            join_room(room)
            mine.add(room)
            self._count(room, 1)
        return {"ok": True, "rooms": sorted(mine)}

    def on_unwatch(self, message: Any) -> dict[str, Any]:
        """Let a client out of rooms."""
        sid = request.sid  # type: ignore[attr-defined]
        mine = self._rooms.get(sid, set())
        for room in (_names(message) or set()) & mine:
            leave_room(room)
            mine.discard(room)
            self._count(room, -1)
        return {"ok": True, "rooms": sorted(mine)}

    def _who(self, auth: Any) -> tuple[str, str] | None:
        if isinstance(auth, dict) and isinstance(auth.get("token"), str):
            row = tokens.find(self._yard, auth["token"])
            if row is None:
                self._count_wrong_token()
            return ("token", auth["token"]) if row is not None else None
        if not current_user.is_authenticated or current_user.must_change_password:
            return None
        if isinstance(current_user._get_current_object(), Person):
            return "session", current_user.get_id()
        header = request.headers.get("Authorization", "").partition(" ")[2]
        return "token", header

    def _count_wrong_token(self) -> None:
        try:
            throttle().count(Limit("token", network_of(request.remote_addr), WRONG_TOKENS_A_MINUTE))
        except Throttled as error:
            raise Refused(error.message) from error

    def _count(self, room: str, change: int) -> None:
        n = self._watching.get(room, 0) + change
        if n > 0:
            self._watching[room] = n
        else:
            self._watching.pop(room, None)

    # The relay.

    def _relay(self) -> None:
        coalescer = Coalescer(self._emit, self._watching.__contains__)
        counts_at = 0.0
        wait = 0.5
        while not self._closed:
            pubsub = self._yard.redis.pubsub(ignore_subscribe_messages=True)
            try:
                pubsub.subscribe(CHANNEL)
                wait = 0.5
                while not self._closed:
                    counts_at = self._pass_on(pubsub, coalescer, counts_at)
            except (RedisError, OSError) as error:
                log.warning("the live channel is away (%s); listening again in %.0f s", error, wait)
            finally:
                pubsub.close()
            if self._closed:
                return
            socketio.sleep(wait)
            wait = min(wait * 2, 15.0)
            socketio.emit("resync", {}, namespace=NAMESPACE)

    def _pass_on(self, pubsub: Any, coalescer: Coalescer, counts_at: float) -> float:
        message = pubsub.get_message(timeout=COUNTS_SECONDS)
        if message is not None:
            coalescer.take(message["data"])
            coalescer.flush()
            until = time.monotonic() + WINDOW_SECONDS
            taken = 0
            while (left := until - time.monotonic()) > 0:
                message = pubsub.get_message(timeout=left)
                if message is None:
                    continue
                coalescer.take(message["data"])
                taken += 1
                if taken % SLICE == 0:
                    socketio.sleep(0)
            coalescer.flush()
            socketio.sleep(0)
        if coalescer.counts_are_old and time.monotonic() - counts_at >= COUNTS_SECONDS:
            coalescer.counts_are_old = False
            counts_at = time.monotonic()
            self._tell_counts()
        return counts_at

    def _tell_counts(self) -> None:
        rooms = [room for room in COUNT_ROOMS if room in self._watching]
        if not rooms:
            return
        try:
            with self._yard.database.read() as connection:
                told = statistics.snapshot(connection, utcnow(), self._yard.settings.heartbeat_seconds)
        except TaskyardError:
            return
        for room in rooms:
            self._emit("counts", told, room)

    def _emit(self, event: str, data: Any, room: str) -> None:
        socketio.emit(event, data, to=room, namespace=NAMESPACE)

    def _recheck(self) -> None:
        # A session that was ended or a token that was revoked must not listen on.
        checked_at = time.monotonic()
        while not self._closed:
            socketio.sleep(0.5)
            self.gate.close_idle_and_stalled()
            if time.monotonic() - checked_at < RECHECK_SECONDS:
                continue
            checked_at = time.monotonic()
            for sid in self.gate.sids():
                who = self._people.get(sid)
                try:
                    if who is None or not self._is_authorized(who):
                        socketio.server.disconnect(sid, namespace=NAMESPACE)
                except TaskyardError:
                    break

    def _is_authorized(self, who: tuple[str, str]) -> bool:
        kind, kept = who
        if kind == "token":
            return tokens.find(self._yard, kept) is not None
        user_id, _, epoch = kept.partition(":")
        with self._yard.database.read() as connection:
            row = users.by_id(connection, user_id)
        return row is not None and row["disabled_at"] is None and str(row["epoch"]) == epoch


def _names(message: Any) -> set[str] | None:
    rooms = message.get("rooms") if isinstance(message, dict) else None
    if not isinstance(rooms, list) or len(rooms) > MAX_ROOMS:
        return None
    if not all(isinstance(room, str) and len(room) <= 80 and ROOM.fullmatch(room) for room in rooms):
        return None
    return set(rooms)
