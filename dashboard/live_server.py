"""The Socket.IO server of the live protocol: what clients may send and how much, how many they are, what may wait for them.

python-socketio hands an event to the handler of its name, also one named `disconnect` that a client made up. python-engineio
opens a session for everybody, and keeps whatever a client does not read. Here only the packets of the live protocol are
handled, and every queue, rate and number of connections has a limit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import socketio as socket_io
from flask import Flask
from flask_socketio import SocketIO
from socketio.packet import ACK

from dashboard.live_http import LiveEngine
from dashboard.websockets import MAX_MESSAGE_BYTES, RateLimit

log = logging.getLogger("taskyard.live")

NAMESPACE = "/live"
EVENTS = {"watch", "unwatch"}
CLIENT = "taskyard.live_client"  # where the server's environment of a connection keeps its client
MAX_CLIENTS = 2_000
MAX_OF_ADDRESS = 300
MAX_OF_OWNER = 50
MAX_UNJOINED = 500  # and a quarter of the connections that the process takes
MAX_UNJOINED_OF_ADDRESS = 20
JOIN_SECONDS = 10.0
MESSAGES_PER_SECOND, MESSAGES_AT_ONCE = 20, 100
MAX_BRACKETS = 20  # a message of the protocol has three
_CONNECT, _DISCONNECT, _EVENT = "0", "1", "2"
_FAULTS = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
Answer = Callable[["Client", str, str, Any], dict[str, Any]]  # client, sid, event, message


@dataclass(eq=False)
class Owner:
    """Whose connection it is: how it was let in, with what, and the user or token that it counts for."""

    kind: str
    credential: str
    identity: str


@dataclass(eq=False)
class Client:
    """One connection; it lasts as long as the server's own entry of it."""

    address: str
    opened_at: float = field(default_factory=time.monotonic)
    rate: RateLimit = field(default_factory=lambda: RateLimit(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE))
    owner: Owner | None = None
    rooms: set[str] = field(default_factory=set)


class LiveServer(socket_io.Server):  # type: ignore[misc]
    """A Socket.IO server that speaks the live protocol only."""

    eio: LiveEngine

    def __init__(self, **options: Any) -> None:
        super().__init__(namespaces=[NAMESPACE], **options)
        self.eio.refusal = self._refusal
        self.max_unjoined = MAX_UNJOINED
        self.on_first_connection: Callable[[], None] = lambda: None
        self.answer: Answer = lambda *_: {}

    def clients(self) -> dict[str, Client]:
        """Return the open connections by their Engine.IO session, from the server's own table."""
        return {eio_sid: environ[CLIENT] for eio_sid, environ in list(self.environ.items()) if CLIENT in environ}

    def watches(self, room: str) -> bool:
        """Return whether anybody is in a room."""
        return room in self.manager.rooms.get(NAMESPACE, {})

    def count_viewers(self, room: str) -> int:
        """Return how many connections are in a room."""
        return len(self.manager.rooms.get(NAMESPACE, {}).get(room, ()))

    def is_full_for(self, identity: str) -> bool:
        """Return whether a user or token has as many connections as it may."""
        owners = (client.owner for client in self.clients().values() if client.owner is not None)
        return sum(owner.identity == identity for owner in owners) >= MAX_OF_OWNER

    def end(self, eio_sid: str) -> None:
        """End a connection: its client is in no room any more when this returns."""
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        if sid is not None:
            self.disconnect(sid, namespace=NAMESPACE)
        self.eio.end(eio_sid)

    def close_unjoined_and_stalled(self) -> None:
        """Close connections that have not joined in time, and those that do not read what waits for them."""
        now = time.monotonic()
        for eio_sid, client in self.clients().items():
            if client.owner is None and now - client.opened_at > JOIN_SECONDS:
                self.eio.end(eio_sid)
        for eio_sid, session in list(self.eio.sockets.items()):
            if session.queue.has_overflowed:
                log.info("a live connection is closed: its client does not read")
                self.eio.end(eio_sid, abort=True)

    def _engineio_server_class(self) -> type[LiveEngine]:
        return LiveEngine

    def _refusal(self, environ: dict[str, Any]) -> str | None:
        """Return why no further connection is opened for this address; None when one is."""
        clients = self.clients().values()
        address = environ.get("REMOTE_ADDR", "")
        of_address = [client for client in clients if client.address == address]
        if len(clients) >= MAX_CLIENTS or len(of_address) >= MAX_OF_ADDRESS:
            return "The server has reached its limit of live connections. Try again in a moment."
        if sum(client.owner is None for client in of_address) >= MAX_UNJOINED_OF_ADDRESS:
            return "Too many connections of this address have not joined yet. Try again in a moment."
        self._make_room()
        return None

    def _make_room(self) -> None:
        """End the oldest connection that has not joined when there are too many: strangers do not keep users from joining."""
        unjoined = [(client.opened_at, eio_sid) for eio_sid, client in self.clients().items() if client.owner is None]
        if len(unjoined) >= self.max_unjoined:
            self.eio.end(min(unjoined)[1], abort=True)

    def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self.on_first_connection()
        environ[CLIENT] = Client(environ.get("REMOTE_ADDR", ""))
        super()._handle_eio_connect(eio_sid, environ)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        client = self.environ.get(eio_sid, {}).get(CLIENT)
        if client is None:
            return
        if not client.rate.allow() or not _is_permitted(data):
            self.eio.end(eio_sid)
            return
        try:
            super()._handle_eio_message(eio_sid, data)
        except _FAULTS as fault:
            log.debug("live connection %s is closed: %s", eio_sid, fault)
            self.eio.end(eio_sid)

    def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        if data is not None and not isinstance(data, dict):
            raise ValueError("The credentials must be an object.")
        super()._handle_connect(eio_sid, namespace, data)
        if self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is None:
            self.eio.end(eio_sid)  # one attempt for each connection

    def _handle_disconnect(self, eio_sid: str, namespace: str, reason: Any = None) -> None:
        super()._handle_disconnect(eio_sid, namespace, reason)
        self.eio.end(eio_sid)

    def _handle_event(self, eio_sid: str, namespace: str, id: int | None, data: Any) -> None:
        client: Client = self.environ[eio_sid][CLIENT]
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        if not isinstance(data, list) or not data or data[0] not in EVENTS or client.owner is None or sid is None:
            raise ValueError("The event is not part of the live protocol.")
        answer = self.answer(client, sid, data[0], data[1] if len(data) > 1 else None)
        if id is not None:
            self._send_packet(eio_sid, self.packet_class(ACK, namespace=namespace, id=id, data=[answer]))


class LiveSocketIO(SocketIO):  # type: ignore[misc]
    """Flask-SocketIO with the server of this module."""

    server: LiveServer

    def init_app(self, app: Flask, **options: Any) -> None:
        """Serve live updates from this application."""
        super().init_app(app, max_http_buffer_size=MAX_MESSAGE_BYTES, **options)
        self.server = LiveServer(**self.server_options)
        self.sockio_mw.engineio_app = self.server


def _is_permitted(data: Any) -> bool:
    if not isinstance(data, str) or not data or len(data) > MAX_MESSAGE_BYTES:
        return False
    if data[0] not in {_CONNECT, _DISCONNECT, _EVENT} or data.count("[") + data.count("{") > MAX_BRACKETS:
        return False
    return data[1:] == NAMESPACE or data[1:].startswith(f"{NAMESPACE},")
