"""What this web process watches: the monitor and Redis. It looks every few seconds and keeps what pages show of them."""

from __future__ import annotations

import logging
from typing import Any, cast

from flask import Flask, current_app

from dashboard.live import socketio
from workers.broker.checks import find_trouble
from workers.broker.connection import connect_impatiently
from workers.domain.errors import Unavailable
from workers.services import clocks, watchman
from workers.yard import Yard

log = logging.getLogger("taskyard.watchman")
EVERY_SECONDS = 5.0
REDIS_SECONDS = 2.0
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
            log.warning("the monitor cannot be checked: %s", error)

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


class RedisWatch:
    """Knows what keeps jobs waiting for Redis, as of some seconds ago: it is away, full, read-only, suspended …"""

    def __init__(self, yard: Yard) -> None:
        self._names = yard.redis.names
        self._redis = connect_impatiently(yard.settings, connections=1)
        self.trouble: str | None = None

    def look(self) -> None:
        """Look once. Never raises."""
        try:
            found = find_trouble(self._redis, self._names)
        except Unavailable:
            return  # the database is away
        except Exception:
            log.exception("Redis cannot be checked")
            return
        self.trouble = found.sentence if found is not None else None

    def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            socketio.sleep(REDIS_SECONDS)


def redis_trouble() -> str | None:
    """Return what keeps jobs waiting for Redis, for the application of this request."""
    return cast(RedisWatch, current_app.extensions["redis_watch"]).trouble


def init(app: Flask) -> None:
    """Give the application its watchmen; `start` lets them look."""
    app.extensions["watchman"] = Watchman(cast(Yard, app.extensions["yard"]))
    app.extensions["redis_watch"] = RedisWatch(cast(Yard, app.extensions["yard"]))


def start(app: Flask) -> Any:
    """Look from now on, in the background."""
    socketio.start_background_task(app.extensions["redis_watch"].run)
    return socketio.start_background_task(app.extensions["watchman"].run)
