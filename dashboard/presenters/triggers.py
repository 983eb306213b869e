"""Triggers as their page shows them: what they listen for in words, and what made them fire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dashboard.presenters.words import duration, span
from workers.domain.masking import mask
from workers.domain.plurals import counted
from workers.domain.untrusted import visible_json
from workers.services.hearing import shown_facts
from workers.services.secret_fields import Declared
from workers.store.types import Row

_STATES = {"refused": "failed", "looped": "canceled"}


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing: its state, and what caused it in a line."""

    row: Row
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """One trigger."""

    row: Row
    state: str
    when: str
    conditions: str
    life: str
    this_hour: int
    firings: list[Firing]


def rows(
    found: Sequence[Row],
    recent: Mapping[str, Sequence[Row]],
    hour: Mapping[str, int],
    now: datetime,
    declared: Declared,
) -> list[TriggerRow]:
    """Make the rows of the page."""
    return [_row(row, recent[row["id"]], hour.get(row["id"], 0), now, declared) for row in found]


def firing(row: Row, declared: Declared) -> Firing:
    """Say one firing."""
    facts = shown_facts(json.loads(row["facts"]), declared)
    told = {**row, "facts": visible_json(facts)}
    return Firing(told, _STATES.get(row["outcome"]) or row["status"] or "none", _cause(row, facts))


def _row(row: Row, recent: Sequence[Row], this_hour: int, now: datetime, declared: Declared) -> TriggerRow:
    state, life = _life(row, this_hour, now)
    wanted = mask(json.loads(row["conditions"]), declared[row["task"]])
    conditions = ", ".join(f"{path} {_wanted(value)}" for path, value in wanted.items())
    return TriggerRow(row, state, _when(row), conditions, life, this_hour, [firing(one, declared) for one in recent])


def _when(row: Row) -> str:
    if row["kind"] != "queue":
        return ""
    if row["measure"] == "depth":
        return f"more than {counted(row['above'], 'job')} waiting"
    return f"the oldest has waited for more than {span(row['above'])}"


def _wanted(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{'>' if side == 'above' else '<'} {limit:g}" for side, limit in value.items())
    return f"= {json.dumps(value, ensure_ascii=False)}"


def _life(row: Row, this_hour: int, now: datetime) -> tuple[str, str]:
    if row["stopped_reason"]:
        return "stuck", "Loop detected"
    if not row["enabled"]:
        return "paused", "Paused"
    if this_hour >= row["cap_per_hour"]:
        return "paused", "Hourly cap reached"
    left = (row["last_fired_at"] or now) + timedelta(seconds=row["cooldown_seconds"]) - now
    if row["last_fired_at"] and left.total_seconds() > 0:
        return "", f"Cool-down, {duration(left.total_seconds())} left"
    return "", "Ready"


def _cause(row: Row, facts: Mapping[str, Any]) -> str:
    if row["detail"]:
        return str(row["detail"])
    if "queue" in facts:
        value = facts["value"]
        return (
            f"{counted(value, 'job')} waiting" if facts["name"] == "queue.depth" else f"oldest wait {duration(value)}"
        )
    if isinstance(facts.get("job"), Mapping):
        return f"{facts['job']['task']}: {facts['job']['error'] or facts['job']['status']}"
    told: dict[str, Any] = facts.get("payload") or {}
    told = told["row"] if isinstance(told.get("row"), dict) else told
    words = ", ".join(
        f"{name} {value}" for name, value in list(told.items())[:6] if not isinstance(value, (dict, list))
    )
    return f"{facts['name']}: {words[:200]}" if words else str(facts["name"])
