"""One HTTP connection: strict reading of request heads, bounded bodies, and time limits for slow clients.

gevent's pywsgi reads leniently and waits for ever. Here an ambiguous message is refused (RFC 9112, sections 2.2, 5 and 6.3),
a head and a body must arrive in time, a body that nobody reads ends the connection, and errors are problem+json.
"""

from __future__ import annotations

import json
import logging
import re
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pywsgi import Input, WSGIHandler

if TYPE_CHECKING:
    from dashboard.http_server import BoundedServer, Connection

log = logging.getLogger("taskyard.web")

HEAD_SECONDS = 10.0  # for a whole request head, from its first byte or from the start of the connection
IDLE_SECONDS = 60.0  # for the next request on a kept connection
IO_SECONDS = 30.0  # without a byte read or taken
LOWEST_BYTES_PER_SECOND = 4_096  # of a body
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8_000
DISCARDED_BYTES = 65_536  # of an unread body, so that a client may still read the answer

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) (HTTP/1\.[01])\r\n")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x20-\x7e\x80-\xff\t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_TITLES = {
    400: ("Bad request", "The request is not valid HTTP/1.1."),
    408: ("Request timeout", "The request did not arrive in time. Send it again."),
    413: ("Too large", "The request body is larger than the limit of this address."),
    414: ("Address too long", f"The address is longer than {MAX_TARGET_BYTES:,} bytes."),
    431: ("Headers too large", f"The request has more than {MAX_HEADERS} headers or {MAX_HEAD_BYTES:,} bytes of them."),
    503: ("Too many connections", "The server has as many connections as it takes. Try again in a moment."),
}
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class RequestRefused(ValueError):
    """A request that is not read any further; `status` is the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HeadTimeout(TimeoutError):
    """The request head did not arrive in time."""


class BodyTimeout(TimeoutError):
    """The request body arrives too slowly."""


def problem_response(status: int, detail: str = "") -> bytes:
    """Return a whole HTTP response with a problem (RFC 9457) that closes the connection."""
    title, default = _TITLES[status]
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail or default}).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


class BoundedInput(Input):  # type: ignore[misc]
    """A request body that must arrive at a lowest rate; what the application leaves unread is not read at length."""

    __slots__ = ("received", "started_at")
    send_100_continue_enabled: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.started_at = time.monotonic()
        self.received = 0

    @property
    def has_unread(self) -> bool:
        """Whether more of the body may follow."""
        if self.chunked_input:
            return bool(self.chunk_length != 0)
        return bool(self.position < (self.content_length or 0))

    def _do_read(self, length: int | None = None, use_readline: bool = False) -> bytes:
        return self._timed(super()._do_read, length, use_readline)

    def _chunked_read(self, length: int | None = None, use_readline: bool = False) -> bytes:
        return self._timed(super()._chunked_read, length, use_readline)

    def _timed(self, read: Any, length: int | None, use_readline: bool) -> bytes:
        wanted = length if length is not None and length >= 0 else self.content_length or DISCARDED_BYTES
        allowed = IO_SECONDS + (self.received + wanted) / LOWEST_BYTES_PER_SECOND
        left = max(0.001, self.started_at + allowed - time.monotonic())
        with gevent.Timeout(left, BodyTimeout("The request body arrives too slowly.")):
            data: bytes = read(length, use_readline)
        self.received += len(data)
        return data

    def _discard(self) -> None:
        # The connection is closed when much is left, see `finalize_headers`; a little is read so that it can go on.
        left = DISCARDED_BYTES
        self.send_100_continue_enabled = False  # type: ignore[misc]
        while left > 0 and self.has_unread and not self._chunked_input_error:
            data = self.read(min(left, 16_384))
            if not data:
                return
            left -= len(data)


class BoundedHandler(WSGIHandler):  # type: ignore[misc]
    """One connection; a client's fault is a line for debugging, not a traceback."""

    server: BoundedServer
    connection: Connection
    wsgi_input: Any
    provided_content_length: str | None
    _head_timer: Any = None

    def handle_one_request(self) -> Any:
        """Handle a request; every refusal of a head is answered with a problem."""
        self.socket.settimeout(IO_SECONDS)
        try:
            answer = super().handle_one_request()
        except HeadTimeout:
            answer = ("408", problem_response(408))
        finally:
            self._stop_timer()
        if isinstance(answer, tuple) and answer[0] == "414":
            return ("414", problem_response(414))
        return answer

    def read_requestline(self) -> str:
        """Return the request line; the first byte may be waited for longer than the rest of the head."""
        is_first = not self.connection.requests
        self.connection.is_reading_head = True
        self._start_timer(HEAD_SECONDS if is_first else IDLE_SECONDS, quiet=not is_first)
        self.rfile.peek(1)
        self._start_timer(HEAD_SECONDS)
        line: bytes = self.rfile.readline(MAX_TARGET_BYTES + 100)
        if line in {b"\r\n", b"\n"}:
            line = self.rfile.readline(MAX_TARGET_BYTES + 100)
        if len(line) >= MAX_TARGET_BYTES + 100:
            return "x" * 10_000  # pywsgi answers a line as long as this with 414
        return line.decode("latin-1")

    def read_request(self, raw_requestline: str) -> bool:
        """Check and parse the head. Raises RequestRefused."""
        found = _REQUEST_LINE.fullmatch(raw_requestline.encode("latin-1"))
        if found is None:
            raise RequestRefused(400, "The request line is not valid HTTP/1.1.")
        if not found[2].startswith(b"/") and found.group(1, 2) != (b"OPTIONS", b"*"):
            raise RequestRefused(400, "The request target must be a path that begins with /.")
        super().read_request(raw_requestline)
        self._stop_timer()
        self.connection.is_reading_head = False
        self.connection.requests += 1
        return True

    def MessageClass(self, stream: Any, *_rest: Any) -> Any:
        """Return the headers. Raises RequestRefused for whatever two readers could understand differently."""
        raw = _read_header_lines(stream)
        headers = super().MessageClass(BytesIO(raw), 0)
        _check_framing(headers, self.request_version)
        return headers

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment with a bounded body."""
        environ: dict[str, Any] = super().get_environ()
        plain = self.wsgi_input
        self.wsgi_input = BoundedInput(
            self.rfile, plain.content_length, socket=plain.socket, chunked_input=plain.chunked_input
        )
        if environ["wsgi.input"] is plain:
            environ["wsgi.input"] = self.wsgi_input
        else:
            # A WebSocket may be silent for long; its own pings find a peer that is gone.
            self.socket.settimeout(None)
        environ["taskyard.connection"] = self.connection
        return environ

    def finalize_headers(self) -> None:
        """Close the connection after this answer when the client still sends a body that nobody wants."""
        if self.command == "HEAD":
            # Without this a length of 0 would be made up for a body that is not sent.
            self.provided_content_length = self.provided_content_length or "unknown"
        super().finalize_headers()
        if self.wsgi_input.has_unread and not self.connection_upgraded:
            self.close_connection = True
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in self.response_headers):
            self.response_headers.append((b"Connection", b"close"))

    def process_result(self) -> None:
        """Send the answer; of HEAD only its head, or what follows would be read as the next answer."""
        if self.command != "HEAD":
            super().process_result()
        elif self.status and not self.headers_sent:
            self.write(b"")

    def write(self, data: bytes) -> None:
        """Send data of the answer's body."""
        super().write(b"" if self.command == "HEAD" else data)

    def log_request(self) -> None:
        """Write the access log when the log level is debug."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self.format_request())

    def handle_error(self, kind: Any, value: Any, trace: Any) -> None:
        """Log a fault of ours; a client that hung up or dawdles is none."""
        if isinstance(value, OSError):
            log.debug("connection from %s ended: %s", self.client_address, value)
            self.close_connection = True
            if isinstance(value, BodyTimeout) and not self.headers_sent:
                self.socket.sendall(problem_response(408))
            return
        super().handle_error(kind, value, trace)

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        log.debug("request from %s refused: %s", self.client_address, error)
        if isinstance(error, HeadTimeout):
            return ("408", problem_response(408))
        status = error.status if isinstance(error, RequestRefused) else 400
        detail = str(error) if isinstance(error, RequestRefused) else ""
        return (str(status), problem_response(status, detail))

    def _send_error_response_if_possible(self, error_code: int) -> None:
        self.close_connection = True
        if error_code == 400 and not self.response_length:
            self.socket.sendall(problem_response(400, "The chunks of the body are not valid."))
        else:
            super()._send_error_response_if_possible(error_code)

    def _start_timer(self, seconds: float, quiet: bool = False) -> None:
        self._stop_timer()
        # A kept connection that stays silent is closed without a word: OSError ends the loop of requests.
        error = ConnectionResetError("idle") if quiet else HeadTimeout("The request head did not arrive in time.")
        self._head_timer = gevent.Timeout.start_new(seconds, error)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.close()
            self._head_timer = None


def _read_header_lines(stream: Any) -> bytes:
    lines: list[bytes] = []
    size = 0
    while True:
        line: bytes = stream.readline(MAX_HEAD_BYTES + 1)
        size += len(line)
        if size > MAX_HEAD_BYTES or len(lines) > MAX_HEADERS:
            raise RequestRefused(431, _TITLES[431][1])
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
        if not _HEADER.fullmatch(line):
            raise RequestRefused(400, "A header line is not valid: it needs a name, a colon, a value and CRLF.")


def _check_framing(headers: Any, version: str) -> None:
    lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    hosts = headers.get_all("Host", [])
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1"):
        raise RequestRefused(400, "The request must have exactly one Host header.")
    if lengths and encodings:
        raise RequestRefused(400, "The request has both Content-Length and Transfer-Encoding. Send one of them.")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise RequestRefused(400, "The request must have at most one Content-Length, a whole number.")
    if encodings and (len(encodings) > 1 or encodings[0].lower() != "chunked" or version != "HTTP/1.1"):
        raise RequestRefused(400, "The only Transfer-Encoding that is understood is chunked, with HTTP/1.1.")
