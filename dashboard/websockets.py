"""WebSockets with bounds: a size for messages while they arrive, a rate, whole sends within a time.

simple-websocket has a size limit only if told, sends what fits into the kernel's buffer, and reads as fast as a client
writes. The class of this module stands in for the one that python-engineio uses under gevent.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
import simple_websocket
from engineio.async_drivers.gevent import Thread
from gevent.event import Event
from gevent.selectors import DefaultSelector
from wsproto.utilities import RemoteProtocolError

MAX_MESSAGE_BYTES = 16_000
SEND_SECONDS = 15.0
MAX_WAITING_MESSAGES = 200


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


class _BoundedSocket:
    """A socket that sends all or fails in time, and lets others run between reads."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def recv(self, size: int) -> bytes:
        """Read what has arrived."""
        gevent.sleep(0)
        data: bytes = self._inner.recv(size)
        return data

    def send(self, data: bytes) -> int:
        """Send all of it. Raises TimeoutError when the client does not read."""
        with gevent.Timeout(SEND_SECONDS, TimeoutError("the client does not read")):
            self._inner.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Server(simple_websocket.Server):  # type: ignore[misc]
    sock: Any

    def handshake(self) -> None:
        self.sock = _BoundedSocket(self.sock)
        super().handshake()

    def _handle_events(self) -> bool:
        try:
            goes_on = bool(super()._handle_events())
        except (RemoteProtocolError, UnicodeDecodeError, OSError):
            goes_on = False
        if len(self.input_buffer) > MAX_WAITING_MESSAGES:
            goes_on = False
        if not goes_on:
            self.connected = False
            self.event.set()
        return goes_on


class BoundedWebSocket:
    """What python-engineio expects of a WebSocket under gevent."""

    def __init__(self, handler: Any, _server: Any) -> None:
        self._handler = handler
        self._rate = RateLimit(30, 150)
        self._ws: Any = None

    def __call__(self, environ: dict[str, Any], _start_response: Any) -> Any:
        """Shake hands and serve the connection to its end."""
        try:
            self._ws = _Server(
                environ,
                max_message_size=MAX_MESSAGE_BYTES,
                thread_class=Thread,
                event_class=Event,
                selector_class=DefaultSelector,
            )
        except (simple_websocket.ConnectionError, RemoteProtocolError) as error:
            raise ConnectionResetError("the WebSocket handshake failed") from error
        connection = environ.get("taskyard.connection")
        if connection is not None:
            connection.is_reading_head = False
        return self._handler(self)

    def send(self, message: Any) -> None:
        """Send a message. Raises OSError when the connection has ended."""
        try:
            self._ws.send(message)
        except simple_websocket.ConnectionClosed as error:
            raise OSError("the connection has ended") from error

    def wait(self) -> Any:
        """Return the next message; None at the end, which comes for those who send too much."""
        try:
            message = self._ws.receive()
        except simple_websocket.ConnectionClosed:
            return None
        return message if self._rate.allow() else None

    def close(self) -> None:
        """Close the connection."""
        if self._ws.connected:
            try:
                self._ws.close()
            except OSError:
                self._ws.connected = False
