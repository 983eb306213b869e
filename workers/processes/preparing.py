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
from typing import TYPE_CHECKING, TypeVar

from workers.domain.errors import SettingsError, Unavailable
from workers.processes.backoff import Backoff
from workers.processes.keeper import CANNOT_WORK, words
from workers.processes.kin import die_with_parent, end_with_parent, fork
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.yard import Yard

log = logging.getLogger("taskyard.preparing")
T = TypeVar("T")


def prepare(settings: Settings) -> str | None:
    """Bring the database up and check Redis; return the one-time password when it made the first admin with one.

    Waits for a database that is away, and ends the process when it cannot be done at all. Raises SettingsError when Redis
    cannot be used as the settings name it; one that is away is waited for by those who need it.
    """
    reading, writing = os.pipe()
    parent = os.getpid()

    def body() -> int:
        die_with_parent()
        end_with_parent(parent, 1)
        os.close(reading)
        try:
            answer = {"password": _prepare(settings)}
        except SettingsError as error:
            answer = {"refused": str(error)}
        os.write(writing, json.dumps(answer).encode())
        return 0

    pid = fork(body)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not told or status:
        log.error("the database could not be prepared: the process %s; see the error above", words(status))
        raise SystemExit(CANNOT_WORK)
    answer: dict[str, str | None] = json.loads(told)
    if answer.get("refused"):
        raise SettingsError(answer["refused"])
    return answer["password"]


def _prepare(settings: Settings) -> str | None:
    from workers.services import callbacks, private_files, rules, users
    from workers.store.migrate import migrate
    from workers.yard import Yard

    private_files.tighten_trees(settings)
    with closing(Yard.open(settings)) as yard:
        until_available(lambda: migrate(yard.database))
        # Before a password is made that nobody would see.
        until_available(lambda: _check_redis(yard))
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


def _check_redis(yard: Yard) -> None:
    """Raise SettingsError for what only another setting can help; the rest is one line of the log. Raises Unavailable (database)."""
    from workers.broker.checks import check

    log.debug(
        "names in Redis begin with %s", yard.redis.names.prefix
    )  # made here, before anything runs in a transaction
    if yard.settings.embedded_redis:
        return  # it may be just starting, and has no setting of the user's
    trouble = check(yard.redis)
    if trouble is None:
        return
    if trouble.is_setting:
        raise SettingsError(trouble.sentence)
    log.warning("%s Jobs wait until then.", trouble.sentence)
