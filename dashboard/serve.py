"""Serving the dashboard: one process, one thread, a greenlet for each request and each live connection."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import subprocess
import sys
from typing import cast

import gevent
from gevent.event import Event
from gevent.os import tp_read

from dashboard.http_server import BoundedServer
from workers.processes import home
from workers.processes.kin import Supervised
from workers.processes.listening import address_of, listen
from workers.processes.recovery import Recovery
from workers.settings import Settings
from workers.yard import Yard

log = logging.getLogger("taskyard.web")

STOP_SECONDS = 3.0


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    supervised = Supervised() if arguments.supervised else None
    settings = home.settle(settings)
    if supervised is None:
        # In a process of its own: what a migration needs in memory shall not stay here.
        code = subprocess.call([sys.executable, sys.argv[0], "migrate"])
        if code:
            return code
    listener = _adopted(arguments.socket) if arguments.socket is not None else listen(settings)
    from dashboard import uploads, warm_up, watchman
    from dashboard.factory import create_app
    from dashboard.live import socketio
    from dashboard.live_server import MAX_UNJOINED

    if supervised is not None:
        supervised.wait_for_go()
    app = create_app(settings)
    uploads.remove_left_over(settings)
    watchman.start(app)
    warm_up.start(app)
    stopped = Event()
    recovery = Recovery(cast(Yard, app.extensions["yard"]), stopped.set)
    recovery.start()
    # Behind a proxy every connection has the proxy's address.
    most_of_address = 0 if settings.trusted_proxies else settings.max_connections_per_address
    server = BoundedServer(listener, app, most_of_address=most_of_address, log=None, error_log=log)
    socketio.server.max_unjoined = min(MAX_UNJOINED, max(1, server.connections.most // 4))
    _serve(server, supervised, stopped)
    return recovery.exit_code


def _serve(server: BoundedServer, supervised: Supervised | None, stopped: Event) -> None:
    for one in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(one, stopped.set)
    if supervised is not None:
        gevent.spawn(_watch, supervised, stopped)
    server.start()
    if supervised is not None:
        supervised.tell(ready=True)
    else:
        log.info("ready: %s", address_of(server.socket))
    stopped.wait()
    server.drain(STOP_SECONDS)


def _watch(supervised: Supervised, stopped: Event) -> None:
    # The end of this input is the end of the supervisor.
    while tp_read(supervised.input, 16):
        pass
    stopped.set()


def _adopted(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    return listener
