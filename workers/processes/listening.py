"""The one place where a port is taken."""

from __future__ import annotations

import socket

from workers.domain.errors import Conflict
from workers.settings import Settings

_BACKLOG = 2_048  # beyond it a connection waits for a second before it is tried again


def listen(settings: Settings) -> socket.socket:
    """Listen on HOST and PORT; Conflict when that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise Conflict(
            f"Port {settings.port} on {settings.host} is not available ({error.strerror}). "
            f"Stop the program that uses it, or set another port: PORT={settings.port % 65535 + 1}."
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Tell the address that people open."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
