"""The columns of an alert: of one that is new, and of what a sweep has seen of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from workers.domain.alarms import FIRING
from workers.domain.ids import new_id
from workers.domain.masking import mask_text
from workers.domain.untrusted import visible_line
from workers.services.facts import Found
from workers.store.types import Row

KEPT_VALUES = 60
MOST_SUBJECTS = 1000
_UNSET = (
    "acknowledged_at",
    "acknowledged_by",
    "note",
    "silenced_until",
    "silenced_by",
    "resolved_at",
    "closed_as",
    "closed_why",
    "notified_at",
    "notified_value",
)
REOPENED = dict.fromkeys(("resolved_at", "closed_as", "closed_why"))


def new_row(rule: Row, cause: str, one: Found, now: datetime) -> dict[str, Any]:
    """Return the row of a new alert."""
    return {
        "id": new_id(now),
        "rule_id": rule["id"],
        "kind": rule["kind"],
        "cause": cause,
        "status": FIRING,
        **dict.fromkeys(_UNSET),
        "flaps": 0,
        "first_at": now,
        "opened_at": now,
        **seen({"history": "[]", "count": 0}, rule, one, now),
    }


def seen(before: Mapping[str, Any], rule: Row, one: Found, now: datetime) -> dict[str, Any]:
    """Return the columns of an alert that a sweep has seen again."""
    history = [*json.loads(before["history"]), one.value][-KEPT_VALUES:]
    subjects = dict(list(one.subjects.items())[:MOST_SUBJECTS])
    return {
        "title": visible_line(mask_text(one.title)),
        "detail": visible_line(mask_text(one.detail)),
        "link": one.link,
        "host": visible_line(one.host)[:255],
        "value": one.value,
        "threshold": rule["threshold"],
        "severity": rule["severity"],
        "history": json.dumps(history),
        "count": before["count"] + 1,
        "last_at": now,
        "clear_since": None,
        "subjects": json.dumps(subjects) if subjects else None,
    }
