"""The open connections of a web process, bounded in total and by address.

Where a bound is reached, a connection that only waits for its client is closed: first the one that has been without a
whole request head for longest, then an idle one, then one in the middle of a body or an answer. One that has only just
begun to wait is spared as long as there is an older one. Requests of signed-in users and live connections are left alone.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter, defaultdict
from enum import IntEnum
from typing import Any

from workers.services.throttling import network_of

PATIENCE_SECONDS = 0.5  # in which a client that means well sends what it has begun


class Waiting(IntEnum):
    """What a connection waits for, in the order in which connections are given up."""

    HEAD = 0  # a first request, or the rest of a head
    IDLE = 1  # another request
    TRANSFER = 2  # a body to come in, or an answer to go out


class Connection:
    """One open connection."""

    def __init__(self, sock: Any, address: str, table: ConnectionTable) -> None:
        self.socket, self.address = sock, address
        self.opened_at = time.monotonic()
        self.waiting: Waiting | None = Waiting.HEAD
        self.waiting_since = self.opened_at
        self.is_established = False  # its request is of a signed-in user
        self.is_shut_down = False  # it was given up
        self.is_live = False  # it may go on as a WebSocket, which ends when its client does
        self._table = table

    def set_waiting(self, waiting: Waiting | None) -> None:
        """Note what the connection waits for; None while it is being answered, or is a live connection."""
        self._table.move(self, waiting)

    def start_waiting(self) -> None:
        """Note that a request waits for its client to send or to read."""
        if not self.is_established:
            self._table.move(self, Waiting.TRANSFER)

    def stop_waiting(self) -> None:
        """Note that a request is worked on."""
        self._table.move(self, None)

    @property
    def is_reading_head(self) -> bool:
        """Whether the connection is without a whole request."""
        return self.waiting in {Waiting.HEAD, Waiting.IDLE}

    @is_reading_head.setter
    def is_reading_head(self, value: bool) -> None:
        self.set_waiting(Waiting.HEAD if value else None)

    def shut_down(self) -> None:
        """End the connection; its greenlet reads the end, when its turn comes, and closes the descriptor."""
        self.is_shut_down = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _Queues:
    """Connections that wait, those that have waited for longest first."""

    def __init__(self) -> None:
        self._queues: dict[Waiting, dict[Connection, None]] = {waiting: {} for waiting in Waiting}

    def add(self, connection: Connection, waiting: Waiting) -> None:
        self._queues[waiting][connection] = None

    def remove(self, connection: Connection, waiting: Waiting) -> None:
        self._queues[waiting].pop(connection, None)

    def first(self) -> Connection | None:
        """Return the connection to give up: of the most dispensable kind among the patient, else whoever waits longest."""
        oldest = [next(iter(queue)) for queue in self._queues.values() if queue]
        before = time.monotonic() - PATIENCE_SECONDS
        patient = (connection for connection in oldest if connection.waiting_since <= before)
        return next(patient, None) or min(oldest, key=lambda connection: connection.waiting_since, default=None)

    def idle(self) -> list[Connection]:
        return [*self._queues[Waiting.HEAD], *self._queues[Waiting.IDLE]]


class ConnectionTable:
    """All connections of the process; 0 means no bound for one address."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self.most, self._most_of_address = most, most_of_address
        self._open: set[Connection] = set()
        self._ending: set[Connection] = set()
        self._count: Counter[str] = Counter()
        self._waiting = _Queues()
        self._waiting_of: defaultdict[str, _Queues] = defaultdict(_Queues)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_crowded(self) -> bool:
        """Whether no further connection should be accepted: too many that were given up still hold their descriptors."""
        return len(self._open) + len(self._ending) >= self.most + self.most // 4

    def add(self, sock: Any, address: str) -> Connection | None:
        """Add a connection, closing one that waits where a bound is reached; None when there is no room."""
        name = network_of(address)
        if self._most_of_address and self._count[name] >= self._most_of_address and not self.close_waiting(name):
            return None
        if len(self._open) >= self.most and not self.close_waiting():
            return None
        connection = Connection(sock, name, self)
        self._open.add(connection)
        self._count[name] += 1
        self.move(connection, Waiting.HEAD)
        return connection

    def remove(self, connection: Connection) -> None:
        """Remove a connection whose descriptor is closed."""
        self._ending.discard(connection)
        self._count_out(connection)

    def _give_up(self, connection: Connection) -> None:
        connection.shut_down()
        self._count_out(connection)
        self._ending.add(connection)

    def _count_out(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self.move(connection, None)
        self._open.remove(connection)
        self._count[connection.address] -= 1
        if not self._count[connection.address]:
            del self._count[connection.address]
            self._waiting_of.pop(connection.address, None)

    def move(self, connection: Connection, waiting: Waiting | None) -> None:
        """Note what a connection waits for now."""
        if connection not in self._open:
            return
        queues = (self._waiting, self._waiting_of[connection.address])
        for queue in queues:
            if connection.waiting is not None:
                queue.remove(connection, connection.waiting)
            if waiting is not None:
                queue.add(connection, waiting)
        connection.waiting, connection.waiting_since = waiting, time.monotonic()

    def close_waiting(self, address: str | None = None) -> bool:
        """Close the connection that can best be spared, of one address or of all; False when there is none."""
        queues = self._waiting if address is None else self._waiting_of[address]
        connection = queues.first()
        if connection is None:
            return False
        self._give_up(connection)
        return True

    def close_idle(self) -> None:
        """Close every connection that has no request."""
        for connection in self._waiting.idle():
            self._give_up(connection)

    def count_busy(self) -> int:
        """Return how many connections are in the middle of a request, apart from live ones."""
        return sum(1 for connection in self._open if not connection.is_live and not connection.is_reading_head)
