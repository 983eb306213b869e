"""Stuck jobs as the page shows them: evidence as gauges, the monitor's hour as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from dashboard.presenters.words import duration
from workers.domain.plurals import counted
from workers.domain.states import WAITING, Status
from workers.services.statistics import Usual
from workers.services.stuck import Stuck
from workers.settings import Settings
from workers.store import jobs
from workers.store.jobs import JOBS
from workers.store.types import Row

SLOW_TIMES = 2.0
STILL_SECONDS = 60.0
MOST_WATCHED = 20
_COLUMNS = "id task message step started_at heartbeat_at progress_at timeout_seconds leave_until version".split()
_STATES = {"silent": "silent", "stopped": "stopped", "unknown": "not registered", "elsewhere": "runs another job"}


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value against its limit; shares of the width, 0 to 100."""

    value: float
    limit: float
    is_over: bool
    words: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of evidence."""

    name: str
    value: str
    rule: str
    is_off: bool
    gauge: Gauge | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One stuck job."""

    one: Stuck
    since: datetime  # without a heartbeat
    proofs: list[Proof]


def card(one: Stuck, settings: Settings, now: datetime) -> Card:
    """Lay the evidence out."""
    told = one.evidence
    alive = told.worker_state == "alive" and told.process != "gone"
    state = "process not found" if told.process == "gone" else _STATES.get(told.worker_state, "alive")
    seen = f"last heartbeat {duration(told.worker_silent)} ago" if told.worker_silent is not None else "no heartbeat"
    moved = (
        f"{counted(told.done, 'record')}, {told.progress:.0f} %" if told.done is not None else f"{told.progress:.0f} %"
    )
    return Card(
        one,
        now - timedelta(seconds=told.heartbeat_age),
        [
            Proof(
                "Heartbeat",
                f"{duration(told.heartbeat_age)} ago",
                f"every {duration(settings.heartbeat_seconds)}, limit {duration(told.heartbeat_limit)}",
                told.heartbeat_age > told.heartbeat_limit,
                _gauge(told.heartbeat_age, told.heartbeat_limit),
            ),
            Proof("Worker", state, f"{told.worker} must be alive; {seen}", not alive),
            Proof("Last progress", moved, told.message or "no message", False),
            Proof(
                "Timeout",
                duration(told.running),
                f"of {duration(told.time_limit)}",
                told.running > told.time_limit,
                _gauge(told.running, told.time_limit),
            ),
        ],
    )


def running(connection: Connection, without: set[str]) -> list[Row]:
    """List what runs and is not stuck, the longest running first."""
    columns = [JOBS.c[name] for name in _COLUMNS]
    chosen = select(*columns).where(JOBS.c.status == str(Status.PROCESSING)).order_by(JOBS.c.started_at).limit(200)
    return [row for row in connection.execute(chosen).mappings() if row["id"] not in without]


def watched(rows: Sequence[Row], usual: Mapping[str, Usual], now: datetime) -> list[dict[str, Any]]:
    """List those that are slow or still, and those that somebody wants left alone, with the reason."""
    found = []
    for row in rows:
        ran = (now - row["started_at"]).total_seconds()
        still = (now - row["progress_at"]).total_seconds() if row["progress_at"] else 0.0
        known = usual.get(row["task"])
        if row["leave_until"] is not None and row["leave_until"] > now:
            why = f"Ignored for {duration((row['leave_until'] - now).total_seconds())} more"
        elif known and ran > max(SLOW_TIMES * known.p95, STILL_SECONDS):
            why = f"Running {duration(ran)}, {ran / max(known.p95, 0.001):.1f} × its p95 of {duration(known.p95)}"
        elif still > STILL_SECONDS:
            why = f"No progress for {duration(still)}"
        else:
            continue
        found.append({**row, "why": why, "limit_in": max(row["timeout_seconds"] - ran, 0.0)})
    return found[:MOST_WATCHED]


def sweep_bars(rows: Sequence[Row], places: int = 60, step: int = 7) -> dict[str, Any]:
    """Draw the sweeps of an hour: the height by how long they took, in red below the line what went wrong."""
    most = max([1, *(row["took_ms"] for row in rows)])
    fine: list[str] = []
    acted: list[str] = []
    wrong: list[str] = []
    shown = rows[-places:]
    for index, row in enumerate(shown, places - len(shown)):
        x = 1.5 + index * step
        bar = f"M{x:g} 25v-{3 + round(17 * row['took_ms'] / most)}"
        (acted if row["reset"] or row["failed"] or row["requeued"] else fine).append(bar)
        if row["error"]:
            wrong.append(f"M{x:g} 26v5")
    return {
        "fine": "".join(fine),
        "acted": "".join(acted),
        "wrong": "".join(wrong),
        "width": places * step - 1,
        "count": len(rows),
    }


def before(connection: Connection, findings: Sequence[Row]) -> list[dict[str, Any]]:
    """List what the monitor did, with what became of the jobs."""
    now_rows = jobs.get_many(connection, [one["job_id"] for one in findings][:500])
    shown = []
    for one in findings:
        job = now_rows.get(one["job_id"])
        state = job["status"] if job is not None else None
        shown.append({**one, "status": state, "can_undo": one["undone_at"] is None and _can_undo(one, job)})
    return shown


def _can_undo(finding: Row, job: Row | None) -> bool:
    # Once another attempt has started it is too late: see stuck.undo.
    if job is None or finding["done"] == "canceled":
        return False
    if finding["done"] == "reset":
        return bool(job["attempt"] == finding["attempt"] + 1) and Status(job["status"]) in WAITING
    return bool(job["attempt"] == finding["attempt"] and job["status"] == Status.FAILED)


def _gauge(value: float, limit: float) -> Gauge:
    top = max(value, limit) * 1.12 or 1.0
    times = value / limit if limit else 0.0
    words = f"{times:.1f} times the limit" if times > 1 else f"{100 * times:.0f} percent of the limit"
    return Gauge(round(100 * value / top, 1), round(100 * limit / top, 1), value > limit, words)
