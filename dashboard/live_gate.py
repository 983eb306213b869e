"""What clients may send over Socket.IO, and how much: one gate before python-socketio sees a packet.

python-socketio hands an event to the handler of its name, also one named `disconnect` that a client made up; it keeps
waiting data for clients that do not read, and connections that never join a namespace. The gate lets through the packets
of the live protocol and closes every other connection.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from flask_socketio import SocketIO

from dashboard.websockets import MAX_MESSAGE_BYTES, BoundedWebSocket, RateLimit

log = logging.getLogger("taskyard.live")

EVENTS = {"watch", "unwatch"}
MAX_SOCKETS = 2_000
MAX_UNJOINED = 200  # connections that have not joined the namespace yet
JOIN_SECONDS = 10.0
MAX_UNREAD_PACKETS = 500
MAX_UNREAD_BYTES = 8_000_000
_CONNECT, _DISCONNECT, _EVENT = "0", "1", "2"


class LiveGate:
    """The gate of one Socket.IO server, for one namespace."""

    def __init__(self, socketio: SocketIO, namespace: str, before_connect: Callable[[], None]) -> None:
        self._server = socketio.server
        self._eio = socketio.server.eio
        self._namespace, self._before_connect = namespace, before_connect
        self._rates: dict[str, RateLimit] = {}
        self._opened_at: dict[str, float] = {}
        self._on_connect = self._eio.handlers["connect"]
        self._on_message = self._eio.handlers["message"]
        self._on_disconnect = self._eio.handlers["disconnect"]
        self._eio.on("connect", self.connect)
        self._eio.on("message", self.message)
        self._eio.on("disconnect", self.disconnect)
        # Its own waits until the client has read everything, and holds the caller for ever when it does not.
        self._eio.disconnect = self._end
        if self._eio.async_mode == "gevent":
            self._eio._async = {**self._eio._async, "websocket": BoundedWebSocket}

    def connect(self, eio_sid: str, environ: dict[str, Any]) -> Any:
        """Take a connection, or refuse it when there are too many."""
        if len(self._eio.sockets) > MAX_SOCKETS or len(self._opened_at) >= MAX_UNJOINED:
            return False
        self._before_connect()
        self._rates[eio_sid] = RateLimit(20, 100)
        self._opened_at[eio_sid] = time.monotonic()
        return self._on_connect(eio_sid, environ)

    def message(self, eio_sid: str, data: Any) -> None:
        """Hand on a packet of the live protocol; anything else ends the connection."""
        rate = self._rates.get(eio_sid)
        if rate is None or not rate.allow() or not self._is_permitted(data):
            log.debug("live connection %s is closed: too many messages, or not of the protocol", eio_sid)
            self._close(eio_sid)
            return
        self._on_message(eio_sid, data)

    def disconnect(self, eio_sid: str, *reason: Any) -> Any:
        """Forget a connection that has ended."""
        self._rates.pop(eio_sid, None)
        self._opened_at.pop(eio_sid, None)
        return self._on_disconnect(eio_sid, *reason)

    def close_idle_and_stalled(self) -> None:
        """Close connections that have not joined in time, and those that do not read what waits for them."""
        now = time.monotonic()
        for eio_sid, opened_at in list(self._opened_at.items()):
            if self._has_joined(eio_sid):
                self._opened_at.pop(eio_sid, None)
            elif now - opened_at > JOIN_SECONDS:
                self._close(eio_sid)
        for eio_sid, connection in list(self._eio.sockets.items()):
            if _has_too_much_unread(connection):
                log.info("a live connection is closed: its browser does not read")
                self._close(eio_sid)

    def sids(self) -> list[str]:
        """Return the clients that the server itself counts as connected."""
        if self._namespace not in self._server.manager.rooms:
            return []
        return [sid for sid, _eio_sid in self._server.manager.get_participants(self._namespace, None)]

    def _has_joined(self, eio_sid: str) -> bool:
        return self._server.manager.sid_from_eio_sid(eio_sid, self._namespace) is not None

    def _is_permitted(self, data: Any) -> bool:
        if not isinstance(data, str) or not data or len(data) > MAX_MESSAGE_BYTES:
            return False
        kind, rest = data[0], data[1:]
        if kind not in {_CONNECT, _DISCONNECT, _EVENT}:
            return False
        name = self._namespace
        if rest != name and not rest.startswith(f"{name},"):
            return False
        return kind != _EVENT or _event_name(rest[len(name) + 1 :]) in EVENTS

    def _close(self, eio_sid: str) -> None:
        connection = self._eio.sockets.get(eio_sid)
        self._rates.pop(eio_sid, None)
        self._opened_at.pop(eio_sid, None)
        if connection is not None:
            connection.queue.queue.clear()  # nobody reads what waits there
            self._end(eio_sid)

    def _end(self, eio_sid: str | None = None) -> None:
        for sid in [eio_sid] if eio_sid is not None else list(self._eio.sockets):
            connection = self._eio.sockets.get(sid)
            if connection is not None:
                connection.close(wait=False, reason=self._eio.reason.SERVER_DISCONNECT)
                self._eio.sockets.pop(sid, None)


def _event_name(text: str) -> Any:
    try:
        event = json.loads(text.lstrip("0123456789"))
    except (ValueError, RecursionError):
        return None
    return event[0] if isinstance(event, list) and event and isinstance(event[0], str) else None


def _has_too_much_unread(connection: Any) -> bool:
    waiting = list(connection.queue.queue)
    if len(waiting) > MAX_UNREAD_PACKETS:
        return True
    sizes = (len(packet.data) for packet in waiting if packet is not None and isinstance(packet.data, (str, bytes)))
    return sum(sizes) > MAX_UNREAD_BYTES
