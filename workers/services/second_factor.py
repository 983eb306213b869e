"""The second factor: time-based one-time codes (TOTP, RFC 6238) of an authenticator app, and recovery codes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from datetime import datetime

import pyotp
from sqlalchemy import Connection

from workers.domain.actors import ROLES, Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.services import audit
from workers.store import settings, users
from workers.store.sessions import POLICY
from workers.store.types import Row
from workers.yard import Yard

STEP_SECONDS = 30
DRIFT_STEPS = 1  # a code is accepted one step early and one late, for clocks that differ
RECOVERY_CODES = 10
_CODE = re.compile(r"[0-9]{6}")
_RECOVERY_CODE = re.compile(r"[A-Z2-7]{24}")


def new_secret() -> str:
    """Return a new secret of 160 bits, in base32 as apps want it."""
    return pyotp.random_base32()


def provisioning_address(secret: str, name: str) -> str:
    """Return the `otpauth://` address that an app reads from a QR code."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=name, issuer_name="Taskyard")


def turn_on(yard: Yard, name: str, secret: str, code: str, actor: Actor) -> list[str]:
    """Give a user a second factor whose first code is right; returns the recovery codes, which are shown once.

    It ends every session of the user. Raises BadInput, Conflict, NotFound.
    """
    now = utcnow()
    step = _matching_step(secret, _plain(code), now)
    if step is None:
        raise BadInput(
            "The code is wrong. Enter the code that the app shows now, and check the clock of the phone.",
            field="code",
        )
    codes = _new_codes()
    with yard.database.write() as connection:
        row = _user(connection, name)
        if row["totp_secret"] is not None:
            raise Conflict("You already have a second factor. Remove it first.")
        values = {"totp_secret": secret, "totp_step": step, "recovery_codes": _hashes(codes)}
        users.change(connection, row["id"], values, end_sessions=True)
        audit.record(connection, actor, "user.second_factor_added", "user", name, now)
    return codes


def turn_off(yard: Yard, name: str, actor: Actor) -> None:
    """Remove a user's second factor; it ends every session of the user. Raises NotFound, Conflict."""
    now = utcnow()
    with yard.database.write() as connection:
        row = _user(connection, name)
        if row["totp_secret"] is None:
            raise Conflict(f"{name} has no second factor.")
        values = {"totp_secret": None, "totp_step": None, "recovery_codes": None}
        users.change(connection, row["id"], values, end_sessions=True)
        audit.record(connection, actor, "user.second_factor_removed", "user", name, now)


def renew_recovery_codes(yard: Yard, name: str, actor: Actor) -> list[str]:
    """Replace a user's recovery codes; returns the new ones, which are shown once. Raises NotFound, Conflict."""
    now = utcnow()
    codes = _new_codes()
    with yard.database.write() as connection:
        row = _user(connection, name)
        if row["totp_secret"] is None:
            raise Conflict(f"{name} has no second factor.")
        users.change(connection, row["id"], {"recovery_codes": _hashes(codes)})
        audit.record(connection, actor, "user.recovery_codes_renewed", "user", name, now)
    return codes


def check(yard: Yard, user_id: str, code: str) -> bool:
    """Return whether this is a code of the user's app or a recovery code; it is used up. Each works once.

    Raises Unavailable.
    """
    now = utcnow()
    plain = _plain(code)
    with yard.database.write() as connection:
        row = users.by_id(connection, user_id, lock=True)
        if row is None or row["totp_secret"] is None:
            return False
        step = _matching_step(row["totp_secret"], plain, now)
        if step is not None and (row["totp_step"] is None or step > row["totp_step"]):
            users.change(connection, user_id, {"totp_step": step})
            return True
        return _use_recovery_code(connection, row, plain, now)


def policy(connection: Connection) -> str | None:
    """Return the least role that must have a second factor; None when nobody must."""
    value: str | None = settings.get(connection, POLICY)
    return value


def set_policy(yard: Yard, least: str | None, actor: Actor) -> None:
    """Require a second factor of users with this role or a higher one; None: of nobody. Raises BadInput."""
    if least is not None and least not in ROLES:
        raise BadInput("Choose viewer, operator, admin or nobody.", field="least")
    now = utcnow()
    with yard.database.write() as connection:
        before = policy(connection)
        settings.put(connection, POLICY, least, now)
        change = ({"second_factor_from": before}, {"second_factor_from": least})
        audit.record(connection, actor, "settings.second_factor", "setting", POLICY, now, *change)


def count_of_recovery_codes(row: Row) -> int:
    """Return how many recovery codes a user has left."""
    return len(json.loads(row["recovery_codes"] or "[]"))


def _use_recovery_code(connection: Connection, row: Row, plain: str, now: datetime) -> bool:
    hashes = json.loads(row["recovery_codes"] or "[]")
    used = _hash(plain)
    if not _RECOVERY_CODE.fullmatch(plain) or used not in hashes:
        return False
    left = [one for one in hashes if one != used]
    users.change(connection, row["id"], {"recovery_codes": json.dumps(left)})
    who = Actor("user", row["name"], row["role"])
    audit.record(connection, who, "user.recovery_code_used", "user", row["name"], now, None, {"left": len(left)})
    return True


def _matching_step(secret: str, code: str, now: datetime) -> int | None:
    """Return the time step whose code this is; None when it is of no step near now."""
    if not _CODE.fullmatch(code):
        return None
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    current = int(now.timestamp()) // STEP_SECONDS
    for step in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1):
        if secrets.compare_digest(totp.generate_otp(step), code):
            return step
    return None


def _plain(code: str) -> str:
    return re.sub(r"[\s-]", "", code[:64]).upper()


def _new_codes() -> list[str]:
    """Return recovery codes of 120 random bits each: from 112 on a plain hash is enough (OWASP ASVS 6.5.2)."""
    codes = (base64.b32encode(secrets.token_bytes(15)).decode() for _ in range(RECOVERY_CODES))
    return ["-".join(code[start : start + 4] for start in range(0, 24, 4)) for code in codes]


def _hashes(codes: list[str]) -> str:
    return json.dumps([_hash(_plain(code)) for code in codes])


def _hash(code: str) -> str:
    # 120 random bits cannot be guessed from a plain hash.
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _user(connection: Connection, name: str) -> Row:
    row = users.by_name(connection, name, lock=True)
    if row is None:
        raise NotFound(f"There is no user {name}.")
    return row
