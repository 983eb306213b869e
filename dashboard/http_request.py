"""One HTTP connection: its requests one after the other, each within limits of size and time.

gevent's pywsgi reads leniently and waits for ever. What it does with an application's answer is used; the reading of heads
and bodies, the time limits and the errors are Taskyard's own.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import gevent
from gevent.pywsgi import WSGIHandler

from dashboard.http_body import IO_SECONDS, BodyFault, RequestBody
from dashboard.http_connections import Connection, Waiting
from dashboard.http_head import Head, read_head
from dashboard.http_problems import RequestRefused, problem_response
from dashboard.slices import pause

if TYPE_CHECKING:
    from dashboard.http_server import BoundedServer

log = logging.getLogger("taskyard.web")

HEAD_SECONDS = 10.0  # for a whole request head, from its first byte or from the start of the connection
IDLE_SECONDS = 60.0  # for the next request on a kept connection
LINGER_SECONDS, LINGER_BYTES = 2.0, 262_144  # for a client that still sends, so that it may read the answer
WRITE_BYTES = 65_536  # that a client must read within IO_SECONDS
_FIRST_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r")
_CLIENT_FAULTS = (ConnectionError, TimeoutError)


class BoundedHandler(WSGIHandler):  # type: ignore[misc]
    """One connection; a client's fault is a line for debugging, not a traceback."""

    server: BoundedServer
    connection: Connection
    wsgi_input: RequestBody
    response_headers: list[tuple[bytes, bytes]]
    provided_content_length: str | None
    _orig_status: str | None
    head: Head | None = None
    _is_early = False
    _lingers = False

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while self._handle_next():
                pass
        except OSError as error:
            log.debug("connection from %s ended: %s", self.client_address, error)
        finally:
            self._end()

    def _handle_next(self) -> bool:
        """Answer one request; False at the end of the connection."""
        self.response_length, self.headers_sent = 0, False
        try:
            head = self._read_head()
        except RequestRefused as refused:
            self._refuse(refused)
            return False
        if head is None:
            return False
        if self._is_early or head.has_body:
            self.server.turns.wait()
            if self.connection.is_shut_down:
                return False
        self.connection.set_waiting(None)
        self.socket.settimeout(IO_SECONDS)
        self.head, self.command, self.path, self.request_version = head, head.method, head.target, head.version
        self.requestline = f"{head.method} {head.target} {head.version}"
        self.close_connection = head.wants_close
        self.environ = self.get_environ()
        self.application = self.server.application
        self.handle_one_response()
        return not self.close_connection

    def _read_head(self) -> Head | None:
        """Return the next head; None when the client has ended the connection, or sends nothing. Raises RequestRefused."""
        is_first = self.head is None
        self.socket.settimeout(None)
        self.connection.is_established = False
        self.connection.set_waiting(Waiting.HEAD if is_first else Waiting.IDLE)
        start = b""
        self._is_early = not is_first and self._has_next()
        with gevent.Timeout(HEAD_SECONDS if is_first else IDLE_SECONDS, False):
            start = self.rfile.peek(1)
        if not start:
            return None
        if start[0] not in _FIRST_BYTES:
            raise RequestRefused(400, "The request line is not valid HTTP/1.1.")
        if not is_first:
            self.connection.set_waiting(Waiting.HEAD)
        with gevent.Timeout(HEAD_SECONDS, False):
            return read_head(self.rfile)
        raise RequestRefused(408)

    def _has_next(self) -> bool:
        """Return whether the next request is here already, sent before the client can have read the last answer."""
        self.socket.settimeout(0)
        try:
            return bool(self.rfile.peek(1))
        finally:
            self.socket.settimeout(None)  # the limits of a head hold for several reads together

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment of a request."""
        head = self.head
        assert head is not None
        environ: dict[str, Any] = self.server.get_environ()
        path, _, query = head.target.partition("?")
        address = self.client_address if isinstance(self.client_address, tuple) else ("", "")
        environ.update(
            REQUEST_METHOD=head.method,
            SCRIPT_NAME="",
            PATH_INFO=unquote_to_bytes(path).decode("latin-1"),
            QUERY_STRING=query,
            SERVER_PROTOCOL=head.version,
            REMOTE_ADDR=str(address[0]),
            REMOTE_PORT=str(address[1]),
        )
        for name, value in head.headers:
            _add_header(environ, name, value)
        self.wsgi_input = RequestBody(
            self.rfile,
            self.connection,
            length=head.content_length,
            is_chunked=head.is_chunked,
            expects_continue=head.expects_continue,
        )
        environ["wsgi.input"] = self.rfile if head.asks_for_websocket else self.wsgi_input
        environ["wsgi.input_terminated"] = not head.asks_for_websocket
        environ["taskyard.body"] = self.wsgi_input
        environ["taskyard.connection"] = self.connection
        if head.asks_for_websocket:
            self.socket.settimeout(None)  # a WebSocket may be silent for long; its pings find a peer that is gone
            self.connection.is_live = True
        return environ

    def handle_one_response(self) -> None:
        """Run the application and send its answer."""
        self.time_start = time.time()
        self.status = self.result = None
        self.response_use_chunked = self.connection_upgraded = False
        try:
            self.run_application()
        except RequestRefused as refused:
            self._refuse(refused)
        except BodyFault as fault:
            self._answer_fault(fault)
        except _CLIENT_FAULTS as error:
            self.close_connection = True
            log.debug("connection from %s ended: %s", self.client_address, error)
        except Exception:
            self.handle_error(*sys.exc_info())
        finally:
            self.time_finish = time.time()
            self._lingers = self._lingers or self.wsgi_input.has_unread
            self.log_request()

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
        """Send data of the answer's body. Raises BodyFault when the request turned out to be no valid one."""
        fault = self.wsgi_input.fault
        if fault is not None and not self.headers_sent:
            raise fault
        super().write(b"" if self.command == "HEAD" else data)

    def _sendall(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BYTES):
            self.connection.start_waiting()
            try:
                super()._sendall(view[start : start + WRITE_BYTES])
            finally:
                self.connection.stop_waiting()
            # A client that reads as fast as it is written to would hold up the others.
            pause()

    def log_request(self) -> None:
        """Write the access log when the log level is debug."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self.format_request())

    def handle_error(self, kind: Any, value: Any, trace: Any) -> None:
        """Log a fault of Taskyard."""
        log.error("%s failed", self.requestline, exc_info=(kind, value, trace))
        self._refuse(RequestRefused(500))

    def _answer_fault(self, fault: BodyFault) -> None:
        log.debug("body from %s: %s", self.client_address, fault)
        self.close_connection = True
        if fault.refusal is not None:
            self._refuse(fault.refusal)

    def _refuse(self, refused: RequestRefused) -> None:
        """Answer with a problem, unless an answer has begun, and end the connection."""
        log.debug("request from %s refused: %s", self.client_address, refused)
        self.close_connection = self._lingers = True
        if self.response_length or self.headers_sent:
            return
        self._orig_status = str(refused.status)
        self.socket.settimeout(IO_SECONDS)
        answer = problem_response(refused.status, str(refused), has_body=self.command != "HEAD")
        self.response_length = len(answer)
        with contextlib.suppress(OSError):
            self.socket.sendall(answer)

    def _end(self) -> None:
        if self._lingers:
            self._linger()
        with contextlib.suppress(OSError):
            self.socket.close()
        # The stream holds the descriptor as well.
        with contextlib.suppress(OSError, ValueError):
            self.rfile.close()

    def _linger(self) -> None:
        """Read a little of what still comes: closed at once, the client would get a reset instead of the answer."""
        self.connection.set_waiting(Waiting.HEAD)  # the first to be given up
        with contextlib.suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
            self.socket.shutdown(socket.SHUT_WR)
            left = LINGER_BYTES
            while left > 0 and (data := self.socket.recv(16_384)):
                left -= len(data)


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    if "_" in name:
        return  # it could pass for the same name with hyphens, which a proxy has set
    key = name.upper().replace("-", "_")
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = f"HTTP_{key}"
    if key in environ:
        environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
    else:
        environ[key] = value
