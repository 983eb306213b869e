"""Who may try how often: the limits on passwords, codes and tokens, as views count them.

A view counts an attempt before it checks anything, and refunds it when the check succeeded or did not take place.
A device that has signed in with a name before is counted alone. So nobody can keep a user out by wrong attempts at
their name or from their address, and no device is an unlimited way to guess.
"""

from __future__ import annotations

from flask import request

from dashboard import devices
from dashboard.context import throttle
from workers.services.throttling import Attempt, Limit, network_of

MINUTE, HOUR = 60, 3_600
ATTEMPTS_A_MINUTE = 5  # at one name, or from one device that is known for it
ATTEMPTS_AN_HOUR = 30
ATTEMPTS_OF_ADDRESS_A_MINUTE = 30
WRONG_TOKENS_A_MINUTE = 60


def count_sign_in(name: str, device: str | None) -> Attempt:
    """Count an attempt to sign in with this name, from the device that is known for it or from anywhere. Raises Throttled."""
    return _count("sign_in", name, device)


def count_code(name: str) -> Attempt:
    """Count an attempt at the second factor of this user. Raises Throttled."""
    return _count("code", name, devices.find(name))


def count_current_password(name: str) -> Attempt:
    """Count an attempt at the password of the user who is signed in; only their sessions are counted. Raises Throttled."""
    return throttle().count(*_by_subject("current_password", name))


def count_wrong_token() -> None:
    """Count a token that was not valid. Raises Throttled. Valid tokens are not counted, nor refused, whatever else comes from their address."""
    throttle().count(Limit("token", network_of(request.remote_addr), WRONG_TOKENS_A_MINUTE))


def _count(kind: str, name: str, device: str | None) -> Attempt:
    if device is not None:
        return throttle().count(*_by_subject(f"{kind}_device", device))
    address = Limit(f"{kind}_address", network_of(request.remote_addr), ATTEMPTS_OF_ADDRESS_A_MINUTE)
    # Names that differ in case or in spaces around them are counted together; no other name is known by any of them.
    return throttle().count(*_by_subject(kind, name.strip().lower()), address)


def _by_subject(kind: str, subject: str) -> tuple[Limit, Limit]:
    return Limit(kind, subject, ATTEMPTS_A_MINUTE, MINUTE), Limit(kind, subject, ATTEMPTS_AN_HOUR, HOUR)
