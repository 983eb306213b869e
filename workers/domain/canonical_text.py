"""One way of writing values that a schema describes by a format: equal dates, durations, UUIDs, addresses and decimals."""

from __future__ import annotations

import ipaddress
import re
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from workers.domain.payload_bytes import decode

_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<weeks>\d+)W)?(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d+))?S)?)?",
    re.ASCII,
)
# Pydantic's own lengths of a year and a month.
_SECONDS = {"years": 365 * 86400, "months": 30 * 86400, "weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60}
# Set in published schemas: else a decimal looks like a number or any text.
DECIMAL_MARK = "x-taskyard-decimal"
_LONGEST = 400  # characters; what is longer has none of these formats


def canonical_text(value: str, form: Any) -> str:
    """Return a text in the one form of its format; as it is when it has none, or does not fit."""
    write = _FORMS.get(form) if isinstance(form, str) else None
    if write is None or len(value) > _LONGEST:
        return value
    try:
        return write(value)
    except (ValueError, OverflowError):
        return value


def is_decimal(part: Mapping[str, Any]) -> bool:
    """Return whether a schema is that of a decimal number: given as a number or as text."""
    return part.get(DECIMAL_MARK) is True


def canonical_decimal(value: Any) -> Any:
    """Return a decimal number as text without trailing zeros, given as a number or as text; others as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > _LONGEST:
        return value
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return value
    if not number.is_finite():
        return value
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    # Not `normalize`, which rounds to the precision of the context.
    return f"{'-' if sign else ''}{short}e{int(exponent) + len(text) - len(short)}" if short else "0"


def _date_time(value: str) -> str:
    moment = datetime.fromisoformat(value.upper())
    return moment.astimezone(UTC).isoformat() if moment.tzinfo is not None else moment.isoformat()


def _time(value: str) -> str:
    moment = time.fromisoformat(value.upper())
    offset = moment.utcoffset()
    if offset is None:
        return moment.isoformat()
    # Two times of day with zones are equal when they are so far from midnight UTC.
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second - offset.total_seconds()
    return f"{seconds:.0f}.{moment.microsecond:06}Z"


def _duration(value: str) -> str:
    found = _DURATION.fullmatch(value.upper())
    if found is None:
        return value
    seconds = sum(int(found[name] or 0) * length for name, length in _SECONDS.items()) + int(found["seconds"] or 0)
    microseconds = int((found["fraction"] or "").ljust(6, "0")[:6])
    total = seconds * 1_000_000 + microseconds
    return f"{-total if found['sign'] == '-' else total}us"


def _uuid(value: str) -> str:
    return str(uuid.UUID(value))


def _bytes(value: str) -> str:
    return urlsafe_b64encode(decode(value)).decode()


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


_FORMS: dict[str, Callable[[str], str]] = {
    "date-time": _date_time,
    "time": _time,
    "duration": _duration,
    "uuid": _uuid,
    "byte": _bytes,
    "ipv4": _address,
    "ipv6": _address,
    "ipvanyaddress": _address,
}
