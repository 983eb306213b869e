"""Live updates: Socket.IO on `/live`, fed by one relay in each web process.

Client: `watch {rooms}` and `unwatch {rooms}`, answered `{ok, rooms}`; any other event ends the connection. Server: `progress`,
`changed`, `counts`, `heartbeat`, `log`, `alert`, `published`, and `resync` when messages may have been missed: then pages read
again what they show. Who watches `status` with the mark of a page (`watch {rooms, mark}`) is also answered `heartbeat_age_seconds`
(null before the first) and `is_current`: whether the page shows everything that this process has heard of.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

from flask import Flask, g, request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import Namespace
from gevent.monkey import is_module_patched
from redis.exceptions import RedisError

from dashboard.auth import live_credential
from dashboard.live_server import CLIENT, NAMESPACE, Client, LiveSocketIO, Owner
from dashboard.relay import STATUS_ROOM, Coalescer, pass_on
from dashboard.security import is_from_elsewhere
from workers.domain.clock import utcnow
from workers.domain.errors import TaskyardError, Throttled, Unavailable
from workers.services import sessions, statistics, stuck, tokens
from workers.store import alerts
from workers.yard import Yard

log = logging.getLogger("taskyard.live")
ROOM = re.compile(
    r"status|overview|jobs|queues|workers|alerts|schedules|triggers|sweeps|tasks|bulk_actions"
    r"|(?:job|bulk_action):[0-9a-f-]{36}|channel:[A-Za-z0-9_.:-]{1,64}"
)
MAX_ROOMS = 100
FIRST_WAIT_SECONDS = 0.5  # for the channel, when Redis is away
COUNTS_SECONDS = 1.0
LONGEST_COUNTS_SECONDS = 10.0  # jobs get stuck without a message
RECHECK_SECONDS = 10.0
SWEEP_SECONDS = 0.5
MAX_UNCHECKED_SECONDS = 60.0  # while the database is away; then nobody listens on
COUNT_ROOMS = (STATUS_ROOM, "overview", "jobs", "queues")

socketio = LiveSocketIO()


def init_live(app: Flask) -> None:
    """Serve live updates from this application."""
    socketio.init_app(
        app,
        async_mode="gevent" if is_module_patched("socket") else "threading",
        cors_allowed_origins=None,  # the same origin only
        async_handlers=False,  # a client's messages are handled one after the other, at its own expense
        http_compression=False,
        ping_interval=20,
        ping_timeout=20,
        manage_session=False,
        logger=False,
        engineio_logger=False,
    )
    namespace = app.extensions["live"] = LiveNamespace(NAMESPACE, cast(Yard, app.extensions["yard"]))
    socketio.on_namespace(namespace)
    socketio.server.on_first_connection = namespace.start_tasks
    socketio.server.answer = namespace.answer

    def mark_request() -> None:
        g.live_mark = namespace.mark  # before the page is read: what happens meanwhile makes it out of date

    app.before_request(mark_request)


class LiveNamespace(Namespace):  # type: ignore[misc]
    """Who listens to what in this process."""

    def __init__(self, namespace: str, yard: Yard) -> None:
        super().__init__(namespace)
        self._yard = yard
        self._tasks: list[Any] = []
        self._closed = False
        self._must_recheck = False
        self._name = secrets.token_urlsafe(6)  # of this process, in marks
        self._is_listening = False
        self._coalescer = Coalescer(self._emit, socketio.server.watches, socketio.server.count_viewers, self._on_change)
        self._counts: dict[str, Any] = {}
        self._counts_at = 0.0
        self.on_change: Callable[[], object] = lambda: None

    @property
    def mark(self) -> str:
        """How much this process has heard of; empty while it does not listen."""
        return f"{self._name}-{self._coalescer.sequence}" if self._is_listening else ""

    def on_connect(self, auth: Any = None) -> None:
        """Let in whoever is signed in, by session or token; refuse everybody else."""
        try:
            owner = self._owner(auth)
        except TaskyardError as error:
            raise Refused(error.message) from error
        if owner is None:
            raise Refused("Sign in, or send a valid token.")
        if socketio.server.is_full_for(owner.identity):
            raise Refused("You have reached the limit of live connections for one user or token. Close some of them.")
        client: Client = request.environ[CLIENT]
        client.owner = owner

    def start_tasks(self) -> None:
        """Start what runs in the background, with the first connection."""
        if not self._tasks:
            self._tasks = [socketio.start_background_task(self._relay), socketio.start_background_task(self._sweep)]

    def recheck_soon(self) -> None:
        """Check at once who may still listen, because a session has just ended here; other processes do within 10 s."""
        self._must_recheck = True

    def close(self) -> None:
        """End what runs in the background, before the connections that it uses are closed."""
        self._closed = True
        for task in self._tasks:
            task.join()

    def answer(self, client: Client, sid: str, event: str, message: Any) -> dict[str, Any]:
        """Handle `watch` and `unwatch`; if one of the names is unknown, nothing is done."""
        names = _names(message)
        if names is None or (event == "watch" and len(client.rooms | names) > MAX_ROOMS):
            return {"ok": False, "error": f"rooms must be a list of at most {MAX_ROOMS} known names"}
        if event == "watch":
            for room in names - client.rooms:
                socketio.server.enter_room(sid, room, namespace=NAMESPACE)
            client.rooms |= names
        else:
            for room in names & client.rooms:
                socketio.server.leave_room(sid, room, namespace=NAMESPACE)
            client.rooms -= names
        answer = {"ok": True, "rooms": sorted(client.rooms)}
        if event == "watch" and STATUS_ROOM in names:
            answer |= self._status_for(message.get("mark"))
            # Whoever has just come may have missed the last counts.
            self._counts, self._coalescer.counts_are_old = {}, True
        return answer

    def _status_for(self, mark: Any) -> dict[str, Any]:
        heartbeat_at = self._coalescer.heartbeat_at
        age = None if heartbeat_at is None else round(time.monotonic() - heartbeat_at, 3)
        return {"heartbeat_age_seconds": age, "is_current": bool(mark) and mark == self.mark}

    def _owner(self, auth: Any) -> Owner | None:
        try:
            credential = live_credential(auth)
        except Throttled as error:
            raise Refused(error.message) from error
        if credential is None or (credential[0] == "session" and is_from_elsewhere()):
            return None
        kind, secret, owner_id = credential
        return Owner(kind, secret, f"{'user' if kind == 'session' else 'token'} {owner_id}")

    # The relay.

    def _on_change(self) -> None:
        self.on_change()

    def _relay(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._closed:
            pubsub = self._yard.redis.pubsub(ignore_subscribe_messages=True)
            try:
                pubsub.subscribe(self._yard.redis.names.live)
                wait = FIRST_WAIT_SECONDS
                self._is_listening = True
                while not self._closed:
                    pass_on(pubsub, self._coalescer, COUNTS_SECONDS, socketio.sleep)
                    self._send_counts_if_due()
            except (RedisError, OSError, Unavailable) as error:
                level = logging.WARNING if wait == FIRST_WAIT_SECONDS else logging.DEBUG  # once for each outage
                log.log(level, "the live channel is away (%s); listening again in %.1f s", error, wait)
            except Exception:
                log.exception("the relay failed; listening again in %.0f s", wait)
            finally:
                self._is_listening = False
                self._coalescer.sequence += 1
                pubsub.close()
            if self._closed:
                return
            self._send_counts_if_due()
            socketio.sleep(wait)
            wait = min(wait * 2, 15.0)
            self.on_change()
            socketio.emit("resync", {}, namespace=NAMESPACE)

    def _send_counts_if_due(self) -> None:
        age = time.monotonic() - self._counts_at
        if age < COUNTS_SECONDS or (not self._coalescer.counts_are_old and age < LONGEST_COUNTS_SECONDS):
            return
        rooms = [room for room in COUNT_ROOMS if socketio.server.watches(room)]
        if not rooms:
            return
        self._coalescer.counts_are_old = False
        self._counts_at = time.monotonic()
        try:
            counts = self._read_counts()
        except TaskyardError:
            return
        if counts != self._counts:
            self._counts = counts
            # To each connection once, in however many of these rooms it is.
            socketio.emit("counts", counts, to=rooms, namespace=NAMESPACE)

    def _read_counts(self) -> dict[str, Any]:
        now = utcnow()
        with self._yard.database.read() as connection:
            statuses = statistics.status_counts(connection, hides_system=True)
            stuck_count = len(stuck.look_now(connection, self._yard.settings, now))
            firing = alerts.counts(connection).get("firing", 0)
        return {"statuses": statuses, "stuck": stuck_count, "alerts": firing}

    def _emit(self, event: str, data: Any, room: str) -> None:
        socketio.emit(event, data, to=room, namespace=NAMESPACE)

    # Connections that must end.

    def _sweep(self) -> None:
        rechecked_at = checked_at = time.monotonic()
        while not self._closed:
            socketio.sleep(SWEEP_SECONDS)
            try:
                socketio.server.close_unjoined_and_stalled()
                if not self._must_recheck and time.monotonic() - rechecked_at < RECHECK_SECONDS:
                    continue
                self._must_recheck = False
                rechecked_at = time.monotonic()
                self._recheck()
                checked_at = rechecked_at
            except Exception as error:  # whatever it is, the next round must come
                log.warning("live connections cannot be rechecked now: %s", error)
                if time.monotonic() - checked_at > MAX_UNCHECKED_SECONDS:
                    self._end_all()

    def _recheck(self) -> None:
        """Close the connections of sessions and tokens that have ended; each is looked up once. Raises Unavailable."""
        by_credential: dict[tuple[str, str], list[str]] = {}
        for eio_sid, client in socketio.server.clients().items():
            if client.owner is not None:
                by_credential.setdefault((client.owner.kind, client.owner.credential), []).append(eio_sid)
        for who, eio_sids in by_credential.items():
            if not self._is_authorized(who):
                for eio_sid in eio_sids:
                    socketio.server.end(eio_sid)

    def _end_all(self) -> None:
        for eio_sid in socketio.server.clients():
            socketio.server.end(eio_sid)

    def _is_authorized(self, who: tuple[str, str]) -> bool:
        kind, credential = who
        if kind == "token":
            return tokens.find(self._yard, credential) is not None
        session = sessions.find_by_id(self._yard, credential)
        return session is not None and not session.must_change_password and not session.needs_second_factor


def _names(message: Any) -> set[str] | None:
    rooms = message.get("rooms") if isinstance(message, dict) else None
    if not isinstance(rooms, list) or len(rooms) > MAX_ROOMS:
        return None
    if not all(isinstance(room, str) and len(room) <= 80 and ROOM.fullmatch(room) for room in rooms):
        return None
    return set(rooms)
