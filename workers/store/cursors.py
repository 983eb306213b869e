"""Cursors of lists: the id of the last row, which is its place in time as well, written so that it can stand in an address."""

from __future__ import annotations

import base64
import binascii

from workers.domain.errors import BadInput
from workers.domain.ids import is_id


def write(direction: str, row_id: str) -> str:
    """Write a cursor; direction is `o` (older than) or `n` (newer than)."""
    return base64.urlsafe_b64encode(f"{direction}|{row_id}".encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[str, str]:
    """Read it back: direction, id. BadInput when it is not one of ours."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        direction, row_id = text.split("|")
        if direction in {"o", "n"} and is_id(row_id):
            return direction, row_id
    except (ValueError, binascii.Error):
        pass
    raise BadInput("The cursor is invalid. Start from the first page.", field="cursor")
