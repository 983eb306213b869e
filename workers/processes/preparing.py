"""What must be done once before anything serves: the tables brought up to date, the first person who may sign in made.

It is done in a forked child, so that no process keeps the memory of what only a migration needs.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from workers.domain.errors import Unavailable
from workers.processes.backoff import Backoff
from workers.processes.keeper import CANNOT_WORK, words
from workers.processes.kin import die_with_parent, end_with_parent, fork
from workers.settings import Settings

log = logging.getLogger("taskyard.preparing")
T = TypeVar("T")


def prepare(settings: Settings) -> str | None:
    """Bring the database up; tells the one-time password when it made the first admin with one.

    Waits for a database that is away, and ends the process when it cannot be done at all.
    """
    reading, writing = os.pipe()
    parent = os.getpid()

    def body() -> int:
        die_with_parent()
        end_with_parent(parent, 1)
        os.close(reading)
        password = _prepare(settings)
        os.write(writing, json.dumps(password).encode())
        return 0

    pid = fork(body)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not told or status:
        log.error("the database could not be prepared: that process %s; what went wrong is above", words(status))
        raise SystemExit(CANNOT_WORK)
    password: str | None = json.loads(told)
    return password


def _prepare(settings: Settings) -> str | None:
    from workers.services import callbacks, private_files, rules, users
    from workers.store.migrate import migrate
    from workers.yard import Yard

    private_files.tighten_trees(settings)
    with closing(Yard.open(settings)) as yard:
        until_available(lambda: migrate(yard.database))
        until_available(lambda: callbacks.ensure_secret(yard))
        until_available(lambda: rules.ensure(yard))
        return until_available(lambda: users.ensure_admin(yard, settings.admin_password))


def until_available(call: Callable[[], T]) -> T:
    """Call until the database can be used; return the result."""
    backoff = Backoff()
    while True:
        try:
            return call()
        except Unavailable as error:
            wait = backoff.after(0)
            log.warning("%s; trying again in %.0f s", str(error).rstrip("."), wait)
            time.sleep(wait)
