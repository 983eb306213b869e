"""Connections of calls that users can aim: resolved once, checked, and ended at a deadline."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from workers.domain.addresses import check_address

Resolver = Callable[[str, int], list[str]]
_Options = Iterable[Any] | None


class Deadline:
    """The moment at which a call must be over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def left(self, timeout: float | None, error: type[Exception]) -> float:
        """Return how long a step may take that has a timeout of its own. Raises the error when the time is over."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise error(f"The call was not complete after {self._seconds:g} s.")
        return left if timeout is None else min(left, timeout)


def lookup(host: str, port: int) -> list[str]:
    """Return the addresses that a name stands for. Raises OSError, UnicodeError for a name that has none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the context of TLS connections, which verifies certificates."""
    return httpx.create_ssl_context(trust_env=False)


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to what a name stands for when all of it is public, or when private addresses are allowed."""

    def __init__(
        self, deadline: Deadline, resolver: Resolver, network: httpcore.NetworkBackend, *, allow_private: bool
    ) -> None:
        self._deadline, self._resolver, self._network = deadline, resolver, network
        self._allows_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _Options = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers. Raises Refused when one of them is private."""
        try:
            addresses = list(dict.fromkeys(self._resolver(host, port)))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"Unknown host {host}.") from error
        if not self._allows_private:
            for address in addresses:
                check_address(address)
        failure: Exception = httpcore.ConnectError(f"Unknown host {host}.")
        for address in addresses:
            left = self._deadline.left(timeout, httpcore.ConnectTimeout)
            try:
                return _TimedStream(
                    self._network.connect_tcp(address, port, left, local_address, socket_options), self._deadline
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: _Options = None
    ) -> httpcore.NetworkStream:
        """Refuse: no call goes to a socket of this machine."""
        raise httpcore.ConnectError("Unix sockets are not supported.")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every step ends at the deadline, however slowly the bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything; httpcore's own loop would grant the timeout to each part anew."""
        connection = self._stream.get_extra_info("socket")
        view = memoryview(buffer)
        try:
            while view:
                connection.settimeout(self._deadline.left(timeout, httpcore.WriteTimeout))
                view = view[connection.send(view) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on with TLS."""
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows about itself."""
        return self._stream.get_extra_info(info)
