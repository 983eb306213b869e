"""The engine's options in the web process."""

from __future__ import annotations

from typing import Any

from gevent.monkey import is_module_patched
from sqlalchemy import make_url

from dashboard import sqlite_threads
from workers.store.database import engine_options

STATEMENT_SECONDS = 20
# Requests that wait for a thread hold their connections: there must be some left for what they need next.
_POOL = {"pool_size": 10, "max_overflow": 30, "pool_timeout": 10, "pool_use_lifo": True}


def web_engine_options(url: str) -> dict[str, Any]:
    """Return the options of an engine that answers requests: no statement holds up the event loop, none runs without end."""
    options = engine_options(url)
    if not is_module_patched("socket"):
        return options
    connect = dict(options["connect_args"])
    if make_url(url).get_backend_name() == "sqlite":
        connect["factory"] = sqlite_threads.Connection
    else:
        connect["options"] = f"-c statement_timeout={STATEMENT_SECONDS}s"
    return {**options, **_POOL, "connect_args": connect}
