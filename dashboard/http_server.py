"""The HTTP server: gevent's, with bounded connections and an accept loop that no client can stop."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import time
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer

from dashboard.http_connections import ConnectionTable
from dashboard.http_problems import problem_response
from dashboard.http_request import BoundedHandler
from dashboard.slices import Turns

log = logging.getLogger("taskyard.web")

MOST_CONNECTIONS = 4_096
MOST_GONE = 50  # that are passed over at once; each takes a fraction of the time that a connection takes
_PAUSE_SECONDS = 0.1
_CROWDED_SECONDS = 0.01
_WARN_SECONDS = 10.0
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BROKEN_LISTENER = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}


class BoundedServer(WSGIServer):  # type: ignore[misc]
    """A WSGI server that keeps a table of its connections."""

    handler_class = BoundedHandler
    max_accept = 10  # so that what was closed to make room has given its descriptor back before the next ones come
    socket: Any

    def __init__(self, listener: Any, application: Any, *, most_of_address: int, **options: Any) -> None:
        super().__init__(listener, application, **options)
        self.connections = ConnectionTable(most_connections(), most_of_address)
        self.turns = Turns()
        self._warned_at = 0.0

    def do_read(self) -> Any:
        """Accept a connection; None when there is none, or none can be had just now.

        Those whose clients have gone already are passed over: a crowd of them would hold up whoever stands behind it.
        """
        if self.connections.is_crowded:
            self._rest(_CROWDED_SECONDS)
            return None
        for _ in range(MOST_GONE):
            accepted = self._accept()
            if accepted is None or not _has_gone(accepted[0]):
                return accepted
            accepted[0].close()
        return None

    def _accept(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno in _BROKEN_LISTENER:
                raise
            if error.errno in _NO_RESOURCES:
                self._pause(error)
            return None  # a client that has gone before it was accepted

    def handle(self, client: Any, address: Any) -> None:
        """Serve one connection to its end."""
        connection = self.connections.add(client, str(address[0]) if isinstance(address, tuple) else "")
        if connection is None:
            _refuse(client)
            return
        try:
            with contextlib.suppress(OSError):
                # Without it every answer on a kept connection waits for the client's delayed acknowledgement.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler = self.handler_class(client, address, self)
            handler.connection = connection
            handler.handle()
        finally:
            self.connections.remove(connection)

    def drain(self, seconds: float) -> None:
        """Stop accepting, end idle connections, and let requests finish for so long."""
        self.close()
        self.connections.close_idle()
        until = time.monotonic() + seconds
        while self.connections.count_busy() and time.monotonic() < until:
            gevent.sleep(0.05)
            self.connections.close_idle()

    def _pause(self, error: OSError) -> None:
        """Let go of a connection and accept on in a moment: asked again at once, the system would only say the same."""
        self.connections.close_waiting()
        if time.monotonic() - self._warned_at > _WARN_SECONDS:
            self._warned_at = time.monotonic()
            log.warning(
                "A connection cannot be accepted: %s. Raise the limit of open files (ulimit -n).", error.strerror
            )
        self._rest(_PAUSE_SECONDS)

    def _rest(self, seconds: float) -> None:
        self.stop_accepting()
        self._timer = self.loop.timer(seconds)
        self._timer.start(self._start_accepting_if_started)


def most_connections() -> int:
    """Return how many connections this process may hold: half of its file descriptors, so that SQL and Redis have theirs."""
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, descriptors // 2))


def _has_gone(client: Any) -> bool:
    """Return whether the client has ended the connection without a word."""
    try:
        return not client._sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _refuse(client: Any) -> None:
    with contextlib.suppress(OSError):
        client.settimeout(1)
        client.sendall(problem_response(503))
    with contextlib.suppress(OSError):
        client.close()
