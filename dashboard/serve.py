"""Serving the dashboard: one process, one thread, a greenlet for each request and each live connection."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import gevent
from gevent.event import Event
from gevent.os import tp_read
from gevent.pywsgi import WSGIHandler, WSGIServer

from workers.domain.errors import Conflict
from workers.processes import home
from workers.processes.kin import Supervised
from workers.settings import Settings

log = logging.getLogger("taskyard.web")

STOP_SECONDS = 3.0
_BACKLOG = 512


class _Handler(WSGIHandler):  # type: ignore[misc]
    """One request; bad clients are a debug line, not a traceback."""

    def log_request(self) -> None:
        """Write the access log when the log level is debug."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self.format_request())

    def handle_error(self, kind: Any, value: Any, trace: Any) -> None:
        """Log a fault of ours; a client that hung up is none."""
        if isinstance(value, (BrokenPipeError, ConnectionResetError)):
            self.close_connection = True
            return
        super().handle_error(kind, value, trace)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    supervised = Supervised() if arguments.supervised else None
    settings = home.settle(settings)
    if supervised is None:
        # In a process of its own: what a migration needs in memory shall not stay here.
        code = subprocess.call([sys.executable, sys.argv[0], "migrate"])
        if code:
            return code
    listener = _adopted(arguments.socket) if arguments.socket is not None else _listen(settings)
    from dashboard.factory import create_app

    if supervised is not None:
        supervised.wait_for_go()
    app = create_app(settings)
    server = WSGIServer(listener, app, log=None, error_log=log, handler_class=_Handler)
    return _serve(server, supervised)


def _serve(server: WSGIServer, supervised: Supervised | None) -> int:
    stopped = Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(one, stopped.set)
    if supervised is not None:
        gevent.spawn(_watch, supervised, stopped)
    server.start()
    host, port = server.address[:2]
    if supervised is not None:
        supervised.tell(ready=True)
    else:
        log.info("ready: http://%s:%s", host, port)
    stopped.wait()
    start = time.monotonic()
    server.stop(timeout=STOP_SECONDS)
    log.debug("stopped after %.1f s", time.monotonic() - start)
    return 0


def _watch(supervised: Supervised, stopped: Event) -> None:
    # The end of this input is the end of the supervisor.
    while tp_read(supervised.input, 16):
        pass
    stopped.set()


def _adopted(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    return listener


def _listen(settings: Settings) -> socket.socket:
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
            f"Port {settings.port} on {settings.host} cannot be had ({error.strerror}). "
            f"Stop what uses it, or choose another: PORT={settings.port + 1}."
        ) from error
    return listener
