"""WebSockets with limits: message size and frame rate while data arrives, a time limit for whole sends.

simple-websocket, which python-engineio uses under gevent, reads as fast as a client writes, inflates what it is sent and sends
only what fits into the kernel's buffer. This class stands in for it: it reads when somebody waits for a message, so that TCP
holds back a client that is too fast, and it does not offer compression.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections import deque
from typing import Any

import gevent
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from dashboard.slices import let_others_run

MAX_MESSAGE_BYTES = 16_000
FRAMES_PER_SECOND, FRAMES_AT_ONCE = 40, 250
SEND_SECONDS = 15.0
IDLE_SECONDS = 60.0  # Engine.IO pings every 20 s, and every ping is answered
READ_BYTES = 4_096
# Packets of Engine.IO that a client of the live protocol sends: close, ping with a probe, pong, message, upgrade.
PACKET = re.compile(r"1|2probe|3(?:probe)?|4[0-2].*|5", re.DOTALL)
_FAULTS = (RemoteProtocolError, LocalProtocolError, OSError, UnicodeDecodeError)


class RateLimit:
    """A token bucket: `rate` messages a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._tokens, self._at = float(burst), time.monotonic()

    def allow(self) -> bool:
        """Take a token; False when there is none."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class BoundedWebSocket:
    """What python-engineio expects of a WebSocket under gevent."""

    def __init__(self, handler: Any, _server: Any) -> None:
        self._handler = handler
        self._rate = RateLimit(FRAMES_PER_SECOND, FRAMES_AT_ONCE)
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._messages: deque[str] = deque()
        self._fragments: list[str] = []
        self._fragment_chars = 0
        self._is_open = False
        self._sock: Any = None
        handler.__self__.websocket = self  # so that the server can end the connection of a session

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Shake hands and serve the connection to its end."""
        if not self._shake_hands(environ):
            self._handler.__self__.close(wait=False, abort=True)
            start_response("400 Bad Request", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return []
        connection = environ.get("taskyard.connection")
        if connection is not None:
            connection.is_reading_head = False
        try:
            return self._handler(self)
        finally:
            self.abort()

    def send(self, message: Any) -> None:
        """Send a message. Raises OSError when the connection has ended or the client does not read in time."""
        if not self._is_open:
            raise OSError("The connection has ended.")
        self._write(self._protocol.send(TextMessage(data=str(message))))

    def wait(self) -> str | None:
        """Return the next message; None at the end, which comes at once for those who send too much."""
        try:
            while self._is_open and not self._messages:
                self._read()
        except _FAULTS:
            self._messages.clear()
        if self._is_open and self._messages:
            return self._messages.popleft()
        self.abort()
        return None

    def close(self) -> None:
        """Send a close frame and end the connection."""
        if self._is_open:
            with contextlib.suppress(*_FAULTS):
                self._write(self._protocol.send(CloseConnection(1000)))
        self.abort()

    def abort(self) -> None:
        """End the connection at once; whoever reads or writes wakes up."""
        self._is_open = False
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _shake_hands(self, environ: dict[str, Any]) -> bool:
        source = environ["wsgi.input"]
        self._sock = getattr(source, "rfile", source).raw._sock
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        # Compression is not accepted: a few bytes would become megabytes, and each connection would keep two windows.
        headers.pop("SEC-WEBSOCKET-EXTENSIONS", None)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            self._protocol.receive_data(f"GET / HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
            if not isinstance(next(self._protocol.events(), None), Request):
                return False
            answer = self._protocol.send(AcceptConnection())
        except (RemoteProtocolError, LocalProtocolError, UnicodeEncodeError):
            return False
        self._sock.settimeout(IDLE_SECONDS)
        self._is_open = True
        with contextlib.suppress(OSError):
            self._write(answer)
        return True

    def _write(self, data: bytes) -> None:
        with gevent.Timeout(SEND_SECONDS, TimeoutError("The client does not read.")):
            self._sock.sendall(data)

    def _read(self) -> None:
        let_others_run()  # a client that never stops sending must not hold up the others
        data = self._sock.recv(READ_BYTES)
        if not data:
            self._is_open = False
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            if not self._rate.allow() or not self._take(event):
                self.abort()
                return

    def _take(self, event: Any) -> bool:
        """Take an event; False ends the connection."""
        if isinstance(event, TextMessage):
            return self._take_text(event)
        if isinstance(event, Ping):
            self._write(self._protocol.send(event.response()))
            return True
        if isinstance(event, CloseConnection):
            self._write(self._protocol.send(event.response()))
            return False
        # A pong may come at any time; binary messages are no part of the live protocol.
        return type(event).__name__ == "Pong"

    def _take_text(self, event: TextMessage) -> bool:
        self._fragment_chars += len(event.data)
        if self._fragment_chars > MAX_MESSAGE_BYTES:
            return False
        self._fragments.append(event.data)
        if not event.message_finished:
            return True
        message = "".join(self._fragments)
        self._fragments.clear()
        self._fragment_chars = 0
        self._messages.append(message)
        return PACKET.fullmatch(message) is not None
