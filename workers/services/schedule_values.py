"""A schedule's row as its rhythm, its next run and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain import cron, payloads
from workers.domain.clock import rfc3339
from workers.domain.cron import Rhythm
from workers.domain.errors import NotFound
from workers.domain.masking import mask, mask_text
from workers.services.schedule_checks import FIELDS
from workers.store import schedules
from workers.store.types import Row

# A run dealt with later than now by more than this was recorded by a clock that has been set back since.
CLOCK_TOLERANCE = timedelta(hours=1)


def get(connection: Connection, schedule_id: str) -> Row:
    """Fetch a schedule; NotFound."""
    row = schedules.get(connection, schedule_id)
    if row is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return row


def rhythm_of(row: Row) -> Rhythm:
    """Return when a schedule is due."""
    return Rhythm(
        cron=row["cron"],
        interval_seconds=row["interval_seconds"],
        once_at=row["once_at"],
        timezone=row["timezone"],
        anchor=row["starts_at"] or row["created_at"].replace(microsecond=0),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
    )


def with_jitter(row: Row, fire_at: datetime | None) -> datetime | None:
    """Return when a run starts: its moment and a jitter that is always the same for it, in whole seconds."""
    if fire_at is None:
        return None
    due = fire_at
    if row["jitter_seconds"]:
        seed = hashlib.sha256(f"{row['id']}{fire_at.timestamp()}".encode()).digest()
        due += timedelta(seconds=int.from_bytes(seed[:4], "big") % (row["jitter_seconds"] + 1))
    return due if due.microsecond == 0 else due.replace(microsecond=0) + timedelta(seconds=1)


def next_run(row: Row, now: datetime) -> dict[str, Any]:
    """Return the columns of the next run of a schedule as it is now: never a moment that has been dealt with."""
    last = row["last_fire_at"]
    since = last if last is not None and now < last <= now + CLOCK_TOLERANCE else now
    fire_at = rhythm_of(row).next(since) if row["enabled"] else None
    return {"next_fire_at": fire_at, "next_due_at": with_jitter(row, fire_at)}


def settable(row: Row) -> dict[str, Any]:
    """Return what people can set of a schedule, the payload and the tags opened."""
    values = {name: row[name] for name in FIELDS}
    return values | {"payload": payloads.load(row["payload"]), "tags": json.loads(row["tags"])}


def as_json(row: Row, secret: Collection[str]) -> dict[str, Any]:
    """Make a schedule JSON-ready, with the secrets of its payload masked; `secret` are the names its task declares."""
    shown = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
    shown |= {"payload": mask(payloads.load(row["payload"]), secret), "tags": json.loads(row["tags"])}
    shown["description"] = cron.describe(rhythm_of(row))
    shown["refused_reason"] = mask_text(row["refused_reason"]) if row["refused_reason"] else None
    del shown["declared_hash"], shown["enabled_when_declared"]
    return shown


def as_given(values: Mapping[str, Any], secret: Collection[str]) -> dict[str, Any]:
    """Return the values of an edit as they are shown to people, with the secrets of the payload masked."""
    return {name: mask(value, secret) if name == "payload" else value for name, value in values.items()}


def past_deadline(row: Row, now: datetime) -> float | None:
    """Return for how many seconds a schedule should have finished: since its first run after the last completed one.

    A run that hangs, fails or is skipped since another still runs keeps that moment, and so does one that never started.
    """
    moments = [with_jitter(row, moment) for moment in (row["open_since"], row["next_fire_at"])]
    due = min((moment for moment in moments if moment is not None), default=None)
    if due is None:
        return None
    late = float((now - due).total_seconds()) - row["finish_within_seconds"]
    return late if late > 0 else None
