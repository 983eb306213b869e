"""Rows of `workers`: what each worker last told of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Table, Update, bindparam, delete, func, select, tuple_, update

from workers.domain.evenness import Clocks
from workers.store.dialects import upsert
from workers.store.models import Worker
from workers.store.types import Row

WORKERS = cast(Table, Worker.__table__)
_KEPT = timedelta(hours=24)
_ENDED = ("lost", "stopped")
_COLUMNS = tuple(column.name for column in WORKERS.columns if column.name != "name")


def register(connection: Connection, row: Row) -> None:
    """Write that a worker started; a row left under the same name is taken over."""
    full = {**dict.fromkeys(_COLUMNS), "jobs_done": 0, "jobs_failed": 0, **row}
    connection.execute(upsert(connection, WORKERS, ["name"], _COLUMNS), full)


def tell(connection: Connection, name: str, values: Mapping[str, Any]) -> bool:
    """Write a worker's heartbeat or state; False when its row is gone."""
    return connection.execute(_told(tuple(values)), {**values, "b_name": name}).rowcount == 1


def mark_stopped(connection: Connection, name: str, now: datetime) -> None:
    """Write that a worker stopped."""
    tell(connection, name, {"state": "stopped", "stopped_at": now, "heartbeat_at": now, "job_id": None})


def present(connection: Connection, limit: int = 1000) -> Sequence[Row]:
    """List the workers that have not said that they stopped, by name."""
    chosen = select(WORKERS).where(WORKERS.c.stopped_at.is_(None)).order_by(WORKERS.c.name).limit(limit)
    return connection.execute(chosen).mappings().all()


def named(connection: Connection, names: Collection[str]) -> dict[str, Row]:
    """Fetch workers by name, those that have stopped among them."""
    found: dict[str, Row] = {}
    wanted = sorted(names)
    for start in range(0, len(wanted), 500):
        chosen = select(WORKERS).where(WORKERS.c.name.in_(wanted[start : start + 500]))
        found |= {row["name"]: row for row in connection.execute(chosen).mappings()}
    return found


def recently_stopped(connection: Connection, now: datetime, limit: int = 50) -> Sequence[Row]:
    """List the workers that stopped within a day, the latest first."""
    chosen = select(WORKERS).where(WORKERS.c.stopped_at > now - _KEPT).order_by(WORKERS.c.stopped_at.desc())
    return connection.execute(chosen.limit(limit)).mappings().all()


def get(connection: Connection, name: str) -> Row | None:
    """Fetch one worker."""
    return connection.execute(select(WORKERS).where(WORKERS.c.name == name)).mappings().one_or_none()


def latest_heartbeat(connection: Connection) -> datetime | None:
    """Return the latest heartbeat of the workers that have not stopped."""
    chosen = select(func.max(WORKERS.c.heartbeat_at)).where(WORKERS.c.stopped_at.is_(None))
    return cast("datetime | None", connection.execute(chosen).scalar_one())


def oldest_heartbeat(connection: Connection) -> datetime | None:
    """Return the oldest heartbeat of the workers that have not stopped."""
    chosen = select(func.min(WORKERS.c.heartbeat_at)).where(WORKERS.c.stopped_at.is_(None))
    return cast("datetime | None", connection.execute(chosen).scalar_one())


def is_lost(row: Row, clocks: Clocks, heartbeat_seconds: float) -> bool:
    """Return whether a worker that has not stopped has been silent for too long."""
    return row["stopped_at"] is None and clocks.age_seconds(row["heartbeat_at"]) > lost_after_seconds(heartbeat_seconds)


def mark_lost(connection: Connection, silent: Sequence[Row], now: datetime) -> Sequence[Row]:
    """Mark those of these workers that have given no heartbeat since the rows were read, once; the rows of those marked.

    A heartbeat from the future, which a clock that was ahead has left, becomes one of now.
    """
    marked: list[Row] = []
    for start in range(0, len(silent), 500):
        seen = [(row["name"], row["heartbeat_at"]) for row in silent[start : start + 500]]
        unchanged = (tuple_(WORKERS.c.name, WORKERS.c.heartbeat_at).in_(seen), WORKERS.c.state.not_in(_ENDED))
        changed = update(WORKERS).where(*unchanged).values(state="lost").returning(*WORKERS.columns)
        marked += connection.execute(changed).mappings().all()
    ahead = [row["name"] for row in marked if row["heartbeat_at"] > now]
    if ahead:
        connection.execute(update(WORKERS).where(WORKERS.c.name.in_(ahead)).values(heartbeat_at=now))
    return marked


def forget(connection: Connection, clocks: Clocks) -> None:
    """Take workers that have been silent for a day as stopped, and delete those that stopped a week ago.

    Does nothing within a day of a disturbance of the clock: no age of a day is known then.
    """
    now = clocks.now
    if clocks.disturbance is not None and abs(now - clocks.disturbance.at) < _KEPT:
        return
    silent = update(WORKERS).where(WORKERS.c.stopped_at.is_(None), WORKERS.c.heartbeat_at < now - _KEPT)
    connection.execute(silent.values(state="stopped", stopped_at=WORKERS.c.heartbeat_at, job_id=None))
    connection.execute(delete(WORKERS).where(WORKERS.c.stopped_at < now - 7 * _KEPT))


def lost_after_seconds(heartbeat_seconds: float) -> float:
    """Tell after how many silent seconds a worker counts as lost: three heartbeats, ten seconds at least."""
    return max(3 * heartbeat_seconds, 10.0)


@lru_cache(maxsize=32)
def _told(names: tuple[str, ...]) -> Update:
    return (
        update(WORKERS).where(WORKERS.c.name == bindparam("b_name")).values({name: bindparam(name) for name in names})
    )
