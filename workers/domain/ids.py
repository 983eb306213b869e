"""Ids of rows: UUID version 7 (RFC 9562), so that ids made later sort later and indexes grow at one end."""

from __future__ import annotations

import os
import time
import uuid

_FIELDS = (1 << 128) - 1


def new_id() -> str:
    """Make a UUIDv7 as lower-case text of 36 characters."""
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    random_bits = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    sub_millisecond = (rest << 12) // 1_000_000
    value = (milliseconds << 80) | (0x7 << 76) | (sub_millisecond << 64) | (0b10 << 62) | random_bits
    text = f"{value & _FIELDS:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Tell whether this is a UUID in its usual 36-character form."""
    if len(text) != 36:
        return False
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
