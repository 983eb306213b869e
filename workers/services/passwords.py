"""Which passwords are accepted: any characters, long enough, hard to guess, and not the one before."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from workers.domain.errors import BadInput

SHORTEST = 8
LONGEST = 1_000
LEAST_SCORE = 3  # of zxcvbn's 0 to 4: safely unguessable for a slow hash that was stolen
_SCORED = 72  # characters; the scorer takes long for more, and more cannot be weak
# RFC 9106, for machines that cannot spare a GiB. Hashes that were stored with other values are renewed at sign-in.
_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)


def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password."""
    return _hasher.hash(password)


def is_password(stored: str, password: str) -> bool:
    """Return whether this is the password of a stored hash."""
    try:
        return _hasher.verify(stored, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def needs_renewal(stored: str) -> bool:
    """Return whether a hash was made with other parameters than those of today."""
    return _hasher.check_needs_rehash(stored)


def check_strength(password: str, name: str, previous: str | None = None, field: str = "password") -> str:
    """Return an acceptable password; `previous` is the hash of the one that it replaces. Raises BadInput with the reason."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadInput(
            f"A password has {SHORTEST} to {LONGEST:,} characters. This one has {len(password)}.", field=field
        )
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise BadInput("The password holds a character that cannot be stored.", field=field) from error
    found = zxcvbn(password[:_SCORED], user_inputs=[name, "taskyard", "admin", "operator", "viewer"])
    if found["score"] < LEAST_SCORE:
        why = found["feedback"]["warning"] or "It is easy to guess."
        raise BadInput(
            f"This password is too weak. {why.rstrip('.')}. Use several unusual words or a longer random text.",
            field=field,
        )
    if previous is not None and is_password(previous, password):
        raise BadInput("This is your current password. Choose another one.", field=field)
    return password


def checked_hash(password: str, name: str, previous: str | None = None) -> str:
    """Return the hash of an acceptable password. Raises BadInput."""
    return hash_password(check_strength(password, name, previous))
