"""What a request has at hand: the way into Taskyard, one read connection, who is asking."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from flask import Flask, current_app, g
from flask_login import current_user
from sqlalchemy import Connection

from dashboard.hashing import HashingPool
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Forbidden
from workers.services import secret_fields, statistics, stuck
from workers.services.secret_fields import Declared
from workers.services.stuck import Stuck
from workers.services.throttling import Throttle
from workers.store import alerts
from workers.yard import Yard


def yard() -> Yard:
    """Tell the way into Taskyard."""
    return cast(Yard, current_app.extensions["yard"])


def throttle() -> Throttle:
    """Return the counters of attempts."""
    return cast(Throttle, current_app.extensions["throttle"])


def hashing() -> HashingPool:
    """Return the threads that hash passwords."""
    return cast(HashingPool, current_app.extensions["hashing"])


def conn() -> Connection:
    """Lend this request's one read connection: every statement of a page sees the same moment. Raises Unavailable."""
    if "taskyard_connection" not in g:
        stack = ExitStack()
        g.taskyard_connection = stack.enter_context(yard().database.read())
        g.taskyard_stack = stack
    return cast(Connection, g.taskyard_connection)


def nav_counts() -> dict[str, int]:
    """Tell the numbers that stand beside the states on every page, read once a request; none while SQL is away."""
    if "taskyard_nav_counts" not in g:
        try:
            counts = statistics.status_counts(conn(), hides_system=True)
            g.taskyard_nav_counts = {**counts, "stuck": len(stuck_jobs())}
        except Exception:  # the page that says why the database is away must still be drawn
            return {}
    return cast(dict[str, int], g.taskyard_nav_counts)


def alert_counts() -> dict[str, int]:
    """Return how many alerts are in each open state, read once a request; none while SQL is away."""
    if "taskyard_alert_counts" not in g:
        try:
            g.taskyard_alert_counts = alerts.counts(conn())
        except Exception:  # the page that says why the database is away must still be drawn
            return {}
    return cast(dict[str, int], g.taskyard_alert_counts)


def stuck_jobs() -> dict[str, Stuck]:
    """Return the jobs that are stuck now by id, with verdict and evidence, judged once a request as the monitor does."""
    if "taskyard_stuck" not in g:
        found = stuck.look_now(conn(), yard().settings, utcnow())
        g.taskyard_stuck = {one.row["id"]: one for one in found}
    return cast(dict[str, Stuck], g.taskyard_stuck)


def declared() -> Declared:
    """Return the fields that tasks declare as secret, read once a request."""
    if "taskyard_declared" not in g:
        g.taskyard_declared = secret_fields.declared(conn())
    return cast(Declared, g.taskyard_declared)


def actor() -> Actor:
    """Tell who is asking. Raises Forbidden when nobody is signed in."""
    if g.get("is_shared"):
        raise RuntimeError("A region that viewers share must not depend on who is looking.")
    if not current_user.is_authenticated:
        raise Forbidden("Sign in first.")
    return cast(Actor, current_user.actor)


def init(app: Flask) -> None:
    """Give back the connection at the end of each request."""

    def close(_error: BaseException | None) -> None:
        stack = g.pop("taskyard_stack", None)
        g.pop("taskyard_connection", None)
        if stack is not None:
            stack.close()

    app.teardown_appcontext(close)
