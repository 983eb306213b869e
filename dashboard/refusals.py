"""What was refused, in the log and in the audit. Anybody can cause it, so both are bounded."""

from __future__ import annotations

import logging
from typing import Literal

from flask import request
from flask_login import current_user

from dashboard.context import throttle, yard
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Throttled, Unavailable
from workers.domain.untrusted import visible_line
from workers.services import audit
from workers.services.throttling import Limit, network_of

log = logging.getLogger("taskyard.security")

LINES_AN_HOUR = 300
LINES_OF_ADDRESS_AN_HOUR = 60
_HOUR = 3_600
_LONGEST_PATH = 200


def record_failed_sign_in(name: str | None, reason: str) -> None:
    """Record an attempt to sign in that failed. `name` is that of a user; None for any other text, it may be a password."""
    _record("sign_in.failed", "user", name or "(unknown name)", _address(), reason)


def record_refused_request(reason: str) -> None:
    """Record a request that the guard refused."""
    caller = current_user.actor if current_user.is_authenticated else _address()
    path = visible_line(request.path)[:_LONGEST_PATH]
    _record("request.refused", "request", f"{request.method} {path}", caller, reason)


def _record(
    action: Literal["sign_in.failed", "request.refused"], kind: str, target: str, who: Actor, reason: str
) -> None:
    address = network_of(request.remote_addr)
    of_address = Limit("refusals", address, LINES_OF_ADDRESS_AN_HOUR, _HOUR)
    of_all = Limit("refusals", "all", LINES_AN_HOUR, _HOUR)
    try:
        throttle().count(of_address, of_all)
    except Throttled:
        return
    log.warning("%s: %s %s by %s from %s: %s", action, kind, target, who, address, reason)
    now = utcnow()
    after = {"address": address, "reason": reason}
    try:
        with yard().database.write() as connection:
            audit.record(connection, who, action, kind, target, now, None, after)
    except Unavailable as error:
        log.warning("the audit cannot be written: %s", error)


def _address() -> Actor:
    return Actor("address", network_of(request.remote_addr))
