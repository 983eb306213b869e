"""The HTTP server: gevent's, with bounded connections.

When the bound is reached, the connection that has been without a whole request for longest is closed, so that clients
which only open connections cannot keep others out.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gevent.pywsgi import WSGIServer

from dashboard.http_request import BoundedHandler, problem_response

log = logging.getLogger("taskyard.web")

MOST_CONNECTIONS = 4_096


@dataclass(eq=False)
class Connection:
    """One open connection; it may be closed in favour of others while no request of it is being answered."""

    socket: Any
    address: str
    is_reading_head: bool = True
    requests: int = 0
    opened_at: float = field(default_factory=time.monotonic)

    def shut_down(self) -> None:
        """End the connection; its greenlet reads the end and cleans up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class ConnectionTable:
    """The open connections, bounded in total and by address; 0 means no bound for one address."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most, self._most_of_address = most, most_of_address
        self._open: dict[Connection, None] = {}  # in the order in which they were opened
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> bool:
        """Add a connection, closing one that has no request where a bound is reached; False when there is no room."""
        if self._most_of_address and self._by_address[connection.address] >= self._most_of_address:
            if not self.close_idle(connection.address):
                return False
        elif len(self._open) >= self._most and not self.close_idle():
            return False
        self._open[connection] = None
        self._by_address[connection.address] += 1
        return True

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended; harmless when it was removed before."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]

    def close_idle(self, address: str | None = None) -> bool:
        """Close the oldest connection without a request, of one address or of any; False when there is none."""
        for connection in self._open:
            if connection.is_reading_head and address in {None, connection.address}:
                connection.shut_down()
                self.remove(connection)
                return True
        return False


class BoundedServer(WSGIServer):  # type: ignore[misc]
    """A WSGI server that keeps a table of its connections."""

    handler_class = BoundedHandler
    max_accept = 10  # so that what was closed to make room has given its descriptor back before the next ones come

    def __init__(self, listener: Any, application: Any, *, most_of_address: int, **options: Any) -> None:
        super().__init__(listener, application, **options)
        self.connections = ConnectionTable(most_connections(), most_of_address)

    def do_read(self) -> Any:
        """Accept a connection; without a free descriptor one that has no request is closed instead."""
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            log.warning("no file descriptor is free: raise the limit of open files (ulimit -n)")
            self.connections.close_idle()
            return None

    def handle(self, client: Any, address: Any) -> None:
        """Serve one connection to its end."""
        connection = Connection(client, str(address[0]) if address else "")
        if not self.connections.add(connection):
            _refuse(client)
            return
        try:
            with contextlib.suppress(OSError):
                # Without it every answer on a kept connection waits for the client's delayed acknowledgement.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler = self.handler_class(client, address, self)
            handler.connection = connection
            with contextlib.suppress(OSError):  # the client has gone
                handler.handle()
        finally:
            self.connections.remove(connection)


def most_connections() -> int:
    """Return how many connections this process may hold: half of its file descriptors, so that SQL and Redis have theirs."""
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, descriptors // 2))


def _refuse(client: Any) -> None:
    with contextlib.suppress(OSError):
        client.settimeout(1)
        client.sendall(problem_response(503))
    with contextlib.suppress(OSError):
        client.close()
