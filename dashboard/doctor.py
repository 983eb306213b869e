"""`python app.py doctor`: every part looked at, one line each, with what to do about what is wrong."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing

from workers.broker.timers import running_schedulers
from workers.domain.errors import TaskyardError
from workers.domain.masking import mask_text
from workers.domain.plurals import counted
from workers.domain.untrusted import visible_line
from workers.services import health
from workers.settings import Settings
from workers.store import installation
from workers.store.database import sqlite_file
from workers.yard import Yard

Findings = Iterator[tuple[str, str | None]]

_LEAST_FREE_BYTES = 200 * 1024 * 1024
_WEB_SECONDS = 5


def run(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Check everything; 1 when something is wrong."""
    # The findings say it; the log of outages is for processes that go on.
    logging.getLogger("taskyard.redis").setLevel(logging.ERROR)
    wrong = 0
    for part, trouble in _findings(settings):
        sys.stdout.write(f"{'ok     ' if trouble is None else 'failed '} {part:<12}{_said(trouble)}\n")
        wrong += trouble is not None
    sys.stdout.write(f"{counted(wrong, 'check')} failed\n" if wrong else "all checks passed\n")
    return 1 if wrong else 0


def _findings(settings: Settings) -> Findings:
    yield "data folder", _data_folder(settings)
    file = sqlite_file(settings.database_url)
    if file is not None and not file.exists():
        yield "database", f"{file} does not exist: start Taskyard once, or correct DATA_DIR or DATABASE_URL"
        return
    with closing(Yard.open(settings)) as yard:
        yield from health.check(yard).items()
        yield "scheduler", _trouble(lambda: _scheduler(yard))
    yield "web", _web(settings)


def _data_folder(settings: Settings) -> str | None:
    folder = settings.data_dir
    if not folder.is_dir():
        return f"{folder} does not exist: start Taskyard once, or correct DATA_DIR"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is not writable by this user: correct its permissions"
    if folder.stat().st_mode & 0o077:
        return f"{folder} is accessible to other users: run chmod 700 on it"
    if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
        return f"the disk of {folder} has less than 200 MB free: free space on it"
    return None


def _scheduler(yard: Yard) -> str | None:
    running = running_schedulers(yard.redis)
    database = installation.read_mark(yard.database)
    if strangers := [name for name, used in running.items() if used and database and used != database]:
        return (
            f"the scheduler {strangers[0]} uses another database with the same installation ID: stop "
            "Taskyard on the copied database and run `python app.py installation --renew` there"
        )
    if running:
        return None
    return "no scheduler is running, so delayed jobs and retries wait: start `python app.py scheduler`"


def _web(settings: Settings) -> str | None:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    address = f"http://{host}:{settings.port}/healthz"
    try:
        # Not by way of a proxy that the environment may name.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=_WEB_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{address} answered {error.code}: read the log of the web process"
    except OSError as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)}): start `python app.py web`"


def _trouble(part: Callable[[], str | None]) -> str | None:
    try:
        return part()
    except TaskyardError as error:
        return str(error)


def _said(trouble: str | None) -> str:
    return "" if trouble is None else visible_line(mask_text(trouble.splitlines()[0]))
