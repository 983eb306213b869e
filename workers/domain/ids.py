"""Ids of rows: UUID version 7 (RFC 9562), so that ids made later sort later and indexes grow at one end.

The id of a row carries the row's moment to the microsecond, then a count within it: the order of ids is the order in
which rows were made, and one index serves for both.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

from workers.domain.clock import utcnow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COUNT_BITS, _RANDOM_BITS = 20, 42
_last = (0, 0)
ID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ID = re.compile(ID_PATTERN)


def new_id(at: datetime | None = None) -> str:
    """Make a UUIDv7 as lower-case text of 36 characters, of this moment or of now."""
    global _last
    microseconds = ((at or utcnow()) - _EPOCH) // _MICROSECOND
    # Rows of one microsecond, such as those of one bulk, keep the order in which they were made.
    count = _last[1] + 1 if _last[0] == microseconds else 0
    _last = (microseconds, count)
    random_bits = int.from_bytes(os.urandom(6), "big") >> (48 - _RANDOM_BITS)
    return _text(microseconds, ((count % (1 << _COUNT_BITS)) << _RANDOM_BITS) | random_bits)


def first_id(at: datetime) -> str:
    """Tell the lowest id that a row made at this moment can have: a bound for rows made since or before it."""
    return _text(max(0, (at - _EPOCH) // _MICROSECOND), 0)


def _text(microseconds: int, rest: int) -> str:
    milliseconds, part = divmod(microseconds, 1000)
    value = (milliseconds << 80) | (0x7 << 76) | ((part * 4096 // 1000) << 64) | (0b10 << 62) | rest
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Tell whether this is a UUID in its usual 36-character form."""
    return _ID.fullmatch(text.lower()) is not None
