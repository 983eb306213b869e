"""This web process's eye on the monitor: looks every few seconds, and keeps what pages show of it."""

from __future__ import annotations

import logging
from typing import Any, cast

from flask import Flask

from dashboard.live import socketio
from workers.services import clocks, watchman
from workers.yard import Yard

log = logging.getLogger("taskyard.watchman")
EVERY_SECONDS = 5.0
PAUSE_SECONDS = 30.0


class Watchman:
    """Knows whether the monitor is silent, as of some seconds ago."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._reading = clocks.take_reading()
        self._since = self._reading.at
        self.silent_seconds: float | None = None

    def look(self) -> None:
        """Look once. Never raises: a database that is away is told of elsewhere."""
        try:
            clocks.synchronize(self._yard)
            self._look()
        except Exception as error:
            log.warning("the monitor cannot be watched now: %s", error)

    def _look(self) -> None:
        reading, before = clocks.take_reading(), self._reading
        self._reading = reading
        if reading.jump_since(before) or reading.uptime - before.uptime > PAUSE_SECONDS:
            # The clock was set, or this process stood still and the monitor perhaps too: the watch begins anew.
            self._since = reading.at
        self.silent_seconds = watchman.watch(self._yard, self._since, reading.at)

    def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            socketio.sleep(EVERY_SECONDS)


def init(app: Flask) -> None:
    """Give the application its watchman; `start` lets it look."""
    app.extensions["watchman"] = Watchman(cast(Yard, app.extensions["yard"]))


def start(app: Flask) -> Any:
    """Look from now on, in the background."""
    return socketio.start_background_task(app.extensions["watchman"].run)
