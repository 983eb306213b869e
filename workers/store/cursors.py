"""Cursors of lists: the place of the last row by (time, id), written so that it can stand in an address."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from workers.domain.clock import parse_instant, rfc3339
from workers.domain.errors import BadInput
from workers.domain.ids import is_id


def write(direction: str, created_at: datetime, row_id: str) -> str:
    """Write a cursor; direction is `o` (older than) or `n` (newer than)."""
    text = f"{direction}|{rfc3339(created_at)}|{row_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[str, datetime, str]:
    """Read it back: direction, time, id. BadInput when it is not one of ours."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        direction, moment, row_id = text.split("|")
        if direction in {"o", "n"} and is_id(row_id):
            return direction, parse_instant(moment), row_id
    except (ValueError, binascii.Error, OverflowError):
        pass
    raise BadInput("This cursor is not one that Taskyard gave. Start from the first page.", field="cursor")
