"""Schedules as the pages show them: their last runs as bars, their fires in words, a day and a week of all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dashboard.presenters.words import duration, span
from dashboard.zones import local
from workers.domain import cron
from workers.domain.cron import Rhythm
from workers.domain.masking import mask_text
from workers.services.schedules import rhythm_of
from workers.store.types import Row

RUNS = 60
STEP = 4
WORDS = {"stuck": "Missed", "canceled": "Canceled", "none": "Deleted", "retry_scheduled": "Completed after a retry"}
_LINE, _UP = 17, 12
# What a bar of these says is that there was no run, so it is a stub.
_SHORT = {"skipped", "canceled", "pending", "scheduled", "none"}


@dataclass(frozen=True, slots=True)
class Runs:
    """The last runs, one bar each: its state → the path of all bars of that state."""

    paths: Mapping[str, str]
    width: int
    label: str
    newest: str  # the state of the last one; empty without any


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule in the list."""

    row: Row
    words: str
    rhythm: str
    tags: list[str]
    runs: Runs
    next_local: datetime | None


def state_of(fire: Row) -> str:
    """Tell the state that a fire is shown in; missed ones are drawn as what is stuck."""
    if fire["outcome"] in {"missed", "refused", "overlapped", "held"}:
        return {"missed": "stuck", "refused": "failed", "overlapped": "skipped", "held": "pending"}[fire["outcome"]]
    if fire["status"] == "completed":
        if fire.get("is_skipped") or fire.get("skipped_reason") is not None:
            return "skipped"
        return "retry_scheduled" if fire["attempt"] > 1 else "completed"
    return str(fire["status"] or "none")


def runs(fires: Sequence[Row], places: int = RUNS, step: int = STEP) -> Runs:
    """Draw fires, oldest first: height is run time, what failed hangs below the line."""
    shown = fires[-places:]
    longest = max([1, *(fire["run_ms"] or 0 for fire in shown)])
    paths: dict[str, list[str]] = {}
    states = [state_of(fire) for fire in shown]
    for index, (fire, state) in enumerate(zip(shown, states, strict=True)):
        x = (places - len(shown) + index) * step + step / 2 - 0.5
        if state == "failed":
            drawn = f"M{x:g} {_LINE + 1}v6"
        else:
            height = 4 if state in _SHORT else max(4, round(_UP * (fire["run_ms"] or longest) / longest))
            drawn = f"M{x:g} {_LINE}v-{height}"
        paths.setdefault(state, []).append(drawn)
    words = ", ".join(f"{states.count(one)} {word(one).lower()}" for one in dict.fromkeys(states)) or "none yet"
    joined = {state: "".join(parts) for state, parts in paths.items()}
    return Runs(joined, places * step - 1, f"Last {len(shown)} runs: {words}", states[-1] if states else "")


def word(state: str) -> str:
    """Say the state of a fire."""
    return WORDS.get(state, state.replace("_", " ").capitalize())


def rows(found: Sequence[Row], recent: Mapping[str, Sequence[Row]], zone: str) -> list[ScheduleRow]:
    """Make the rows of the list."""
    return [
        ScheduleRow(
            row,
            cron.describe(rhythm_of(row)),
            rhythm_text(row),
            json.loads(row["tags"]),
            runs(recent[row["id"]]),
            local(row["next_fire_at"], zone) if row["next_fire_at"] else None,
        )
        for row in found
    ]


def rhythm_text(row: Mapping[str, Any]) -> str:
    """Write the rhythm as it was given."""
    if row["cron"]:
        return str(row["cron"])
    return f"every {span(row['interval_seconds'])}" if row["interval_seconds"] else "once"


@dataclass(frozen=True, slots=True)
class FireRow:
    """One fire in the history of a schedule."""

    row: Row
    state: str
    word: str
    said: str
    note: str
    late_seconds: float | None


def history(fires: Sequence[Row]) -> list[FireRow]:
    """Make the rows of a schedule's history, newest first."""
    return [FireRow(one, state_of(one), _outcome_word(one), *_said(one)) for one in fires]


def _outcome_word(fire: Row) -> str:
    named = {"overlapped": "Overlapped", "held": "Held", "refused": "Refused"}
    return named.get(fire["outcome"]) or word(state_of(fire))


def _said(fire: Row) -> tuple[str, str, float | None]:
    late = fire["late_ms"] / 1000
    if fire["outcome"] == "missed":
        if fire["detail"]:
            return f"Missed: {mask_text(fire['detail'])}", "", None
        n = fire["missed_count"]
        return (
            f"Missed: no scheduler was running{f'; {n - 1:,} earlier runs were missed too' if n > 1 else ''}.",
            "",
            None,
        )
    if fire["outcome"] == "overlapped":
        return "The previous run had not ended.", "not run", None
    if fire["outcome"] == "held":
        return "Waiting for the previous run.", "not run yet", None
    if fire["outcome"] == "refused":
        return mask_text(fire["detail"] or "") or "The job could not be enqueued.", "not run", late
    return _of_job(fire), _tries(fire), None if fire["outcome"] == "manual" else late


def _of_job(fire: Row) -> str:
    if fire["status"] is None:
        return "The job has been deleted."
    if fire["skipped_reason"]:
        return mask_text(str(fire["skipped_reason"]))
    return mask_text(str(fire["error"] or "")).splitlines()[0] if fire["error"] else word(fire["status"])


def _tries(fire: Row) -> str:
    words = ["manual run"] if fire["outcome"] == "manual" else []
    if fire["run_ms"] is not None:
        words.append(f"ran {duration(fire['run_ms'] / 1000)}")
    if (fire["attempt"] or 1) > 1:
        words.append(f"{fire['attempt']} attempts")
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the last fires of a schedule add up to."""

    fires: int
    counts: Mapping[str, int]
    p50_seconds: float | None
    p95_seconds: float | None
    late_p95_seconds: float | None


def facts(fires: Sequence[Row]) -> Facts:
    """Add up fires."""
    counts: dict[str, int] = {}
    for one in fires:
        state = {"retry_scheduled": "completed"}.get(state_of(one), state_of(one))
        if one["outcome"] == "missed":
            counts["stuck"] = counts.get("stuck", 0) + one["missed_count"]
        else:
            counts[state] = counts.get(state, 0) + 1
    ran = sorted(one["run_ms"] / 1000 for one in fires if one["run_ms"] is not None and one["status"] == "completed")
    late = sorted(one["late_ms"] / 1000 for one in fires if one["outcome"] == "fired")
    return Facts(len(fires), counts, _share(ran, 0.5), _share(ran, 0.95), _share(late, 0.95))


def _share(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


@dataclass(frozen=True, slots=True)
class Fire:
    """One fire that will come, on two clocks."""

    at: datetime
    there: datetime
    here: datetime
    note: str


def coming(fires: Sequence[Mapping[str, Any]], zone: str) -> list[Fire]:
    """Make the list of the next fires."""
    return [Fire(one["fire_at"], one["local_time"], local(one["fire_at"], zone), one["note"]) for one in fires]


@dataclass(frozen=True, slots=True)
class Lane:
    """The fires of one schedule within a day."""

    name: str
    y: int
    places: list[float]  # in percent of the day


@dataclass(frozen=True, slots=True)
class Day:
    """The next 24 hours of all schedules."""

    lanes: list[Lane]
    height: int
    hours: list[tuple[float, str]]
    listed: list[tuple[datetime, Row]]
    often: int  # schedules that fire too often to be drawn
    clash: tuple[float, str] | None


MOST_LANES, LANE = 6, 20


def day(found: Sequence[Row], now: datetime, zone: str) -> Day:
    """Lay the next fires of these schedules onto 24 hours; those that fire more often than hourly are only counted."""
    end, often = now + timedelta(hours=24), 0
    rare: list[tuple[Row, list[datetime]]] = []
    for row in found:
        fires = _of_a_day(rhythm_of(row), row["next_fire_at"], end)
        if fires is None:
            often += 1
        elif fires:
            rare.append((row, fires))
    lanes = [
        Lane(row["name"], 20 + LANE * index, [round(100 * ((at - now) / (end - now)), 3) for at in fires])
        for index, (row, fires) in enumerate(rare[:MOST_LANES])
    ]
    first = local(now, zone).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    marks = [first + timedelta(hours=2 * step) for step in range(12)]
    hours = [(round(100 * ((mark - now) / (end - now)), 3), f"{mark:%H:%M}") for mark in marks]
    listed = sorted(((fires[0], row) for row, fires in rare), key=lambda one: one[0])[:6]
    return Day(lanes, 24 + LANE * len(lanes), hours, listed, often, _clash(rare, now, end, zone))


def _of_a_day(rhythm: Rhythm, first: datetime, end: datetime) -> list[datetime] | None:
    fires = [first] if first <= end else []
    fires += rhythm.between(first, end, 25)
    return fires if len(fires) <= 25 else None


def _clash(
    rare: Sequence[tuple[Row, list[datetime]]], now: datetime, end: datetime, zone: str
) -> tuple[float, str] | None:
    at: dict[datetime, int] = {}
    for _, fires in rare:
        for one in fires:
            minute = one.replace(second=0, microsecond=0)
            at[minute] = at.get(minute, 0) + 1
    worst = max(at.items(), key=lambda item: item[1], default=None)
    if worst is None or worst[1] < 3:
        return None
    return round(100 * ((worst[0] - now) / (end - now)), 3), f"{local(worst[0], zone):%H:%M}: {worst[1]} start together"
