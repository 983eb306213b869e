"""The Engine.IO server below the live protocol: bounded handshakes, bounded bodies by polling, bounded queues."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import engineio
from engineio.exceptions import EngineIOError
from engineio.packet import CLOSE
from engineio.payload import Payload

from dashboard.websockets import MAX_MESSAGE_BYTES, PACKET, BoundedWebSocket

log = logging.getLogger("taskyard.live")

MAX_UNREAD_PACKETS = 2_000
MAX_UNREAD_BYTES = 500_000
_RETRY_SECONDS = 5
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_STATUS = {
    400: ("400 Bad Request", "Bad request"),
    403: ("403 Forbidden", "Forbidden"),
    405: ("405 Method Not Allowed", "Method not allowed"),
    413: ("413 Content Too Large", "Too large"),
    503: ("503 Service Unavailable", "Service unavailable"),
}


class RequestRefused(Exception):
    """A request that Engine.IO does not get to see."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Outbox:
    """The packets that wait for one client; what does not fit is dropped, and the client is closed for it."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.unread_bytes = 0
        self.has_overflowed = False

    def put(self, packet: Any) -> None:
        """Add a packet; the end of a connection always fits."""
        is_end = packet is None or packet.packet_type == CLOSE
        is_full = self._queue.qsize() >= MAX_UNREAD_PACKETS or self.unread_bytes >= MAX_UNREAD_BYTES
        if is_full and not is_end:
            self.has_overflowed = True
            return
        self.unread_bytes += _size(packet)
        self._queue.put(packet)

    def get(self, *arguments: Any, **options: Any) -> Any:
        """Take a packet. Raises what the queue raises."""
        packet = self._queue.get(*arguments, **options)
        self.unread_bytes -= _size(packet)
        return packet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class LiveEngine(engineio.Server):  # type: ignore[misc]
    """An Engine.IO server with limits."""

    _async: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.refusal: Callable[[dict[str, Any]], str | None] = lambda _environ: None
        if self.async_mode == "gevent":
            self._async = {**self._async, "websocket": BoundedWebSocket}

    def create_queue(self, *arguments: Any, **options: Any) -> Outbox:
        """Make the queue of a session."""
        return Outbox(super().create_queue(*arguments, **options))

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Handle a request of Engine.IO's address; whatever is wrong with it is answered with a problem."""
        is_started = False

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal is_started
            is_started = True
            return start_response(status, [*headers, *_HEADERS], *rest)

        try:
            self._check(environ)
            return super().handle_request(environ, start)
        except RequestRefused as refused:
            return _problem(start, refused.status, str(refused))
        except (EngineIOError, ValueError, KeyError, RecursionError, OSError) as fault:
            log.debug("a live request failed: %r", fault)
            return [] if is_started else _problem(start, 400, "The request is not valid Engine.IO.")

    def end(self, sid: str, *, abort: bool = False) -> None:
        """End a session without waiting for its client; `abort` drops what waits for it, and its WebSocket."""
        session = self.sockets.get(sid)
        if session is None:
            return
        if abort:
            websocket = getattr(session, "websocket", None)
            if websocket is not None:
                websocket.abort()
        session.close(wait=False, abort=abort, reason=self.reason.SERVER_DISCONNECT)
        self.sockets.pop(sid, None)

    def disconnect(self, sid: str | None = None) -> None:
        """End a session, or all; python-engineio's own method waits until the client has read everything."""
        for name in [sid] if sid is not None else list(self.sockets):
            self.end(name)

    def _check(self, environ: dict[str, Any]) -> None:
        """Raise RequestRefused for what is no request of a live client."""
        method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=20)
        if method not in {"GET", "POST", "OPTIONS"}:
            raise RequestRefused(405, "Use GET or POST.")
        if "j" in query:
            raise RequestRefused(400, "JSONP is not supported.")
        origin = environ.get("HTTP_ORIGIN")
        if origin and origin.lower() != f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}".lower():
            raise RequestRefused(403, "Live connections accept only pages of this origin.")
        if query.get("transport") == ["websocket"] and not _asks_for_websocket(environ):
            raise RequestRefused(400, "The request does not ask for an upgrade to a WebSocket.")
        session = self.sockets.get(query["sid"][0]) if "sid" in query else None
        if session is not None and session.upgrading:
            raise RequestRefused(400, "The session is being upgraded.")
        if session is None and method == "GET" and "sid" not in query:
            reason = self.refusal(environ)
            if reason is not None:
                raise RequestRefused(503, reason)
        if method == "POST":
            _read_body(environ)


def _asks_for_websocket(environ: dict[str, Any]) -> bool:
    connection = [word.strip() for word in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    is_get = environ["REQUEST_METHOD"] == "GET"
    return is_get and "upgrade" in connection and environ.get("HTTP_UPGRADE", "").lower() == "websocket"


def _read_body(environ: dict[str, Any]) -> None:
    """Read a bounded body with packets of the protocol, and put it in place of the stream. Raises RequestRefused."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdigit() and int(length) > MAX_MESSAGE_BYTES:
        raise RequestRefused(413, f"A message has at most {MAX_MESSAGE_BYTES:,} bytes.")
    body = environ["wsgi.input"].read(int(length) if length.isdigit() else MAX_MESSAGE_BYTES + 1)
    if len(body) > MAX_MESSAGE_BYTES:
        raise RequestRefused(413, f"A message has at most {MAX_MESSAGE_BYTES:,} bytes.")
    packets = body.decode().split("\x1e")
    if len(packets) > Payload.max_decode_packets or not all(map(PACKET.fullmatch, packets)):
        raise RequestRefused(400, "The body is not a sequence of Engine.IO packets.")
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))


def _problem(start_response: Any, status: int, detail: str) -> list[bytes]:
    line, title = _STATUS[status]
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    if status == 503:
        headers.append(("Retry-After", str(_RETRY_SECONDS)))
    if status == 405:
        headers.append(("Allow", "GET, POST"))
    start_response(line, headers)
    return [body]


def _size(packet: Any) -> int:
    data = getattr(packet, "data", None)
    return len(data) if isinstance(data, (str, bytes)) else 0
