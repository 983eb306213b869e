"""What an audited action changed, in a line: the fields that differ, with the values before and after."""

from __future__ import annotations

import json
from typing import Any

from workers.store.types import Row

LONGEST = 300
LONGEST_VALUE = 60


def change(row: Row) -> str:
    """Write the fields that differ between the stored states of an audit entry; one state alone is written as it is."""
    before, after = _fields(row["before"]), _fields(row["after"])
    if before is None or after is None:
        return str(row["after"] or row["before"] or "")[:LONGEST]
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    parts = [f"{name}: {_value(before, name)} → {_value(after, name)}" for name in names]
    return ", ".join(parts)[:LONGEST] or "No field changed"


def _fields(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _value(fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        return "–"
    value = fields[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
