"""Alerts as the pages and the API show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.presenters import charts
from dashboard.presenters.plain import plain
from workers.domain.alarms import KINDS, said
from workers.domain.masking import mask_text
from workers.services.channels import Channel, of_rule, why_absent
from workers.services.rule_checks import missing_setting
from workers.settings import Settings
from workers.store.types import Row

SEVERITY_ICONS = {"critical": "cross", "warning": "warning", "info": "info"}
SEVERITY_STATES = {"critical": "failed", "warning": "stuck", "info": "pending"}


def as_json(row: Row) -> dict[str, Any]:
    """Make an alert JSON-ready."""
    words = {name: mask_text(row[name] or "") for name in ("title", "detail")}
    subjects = json.loads(row["subjects"]) if row["subjects"] else {}
    return plain({**row, **words, "history": json.loads(row["history"]), "subjects": subjects})


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one message."""

    channel: str
    status: str
    at: datetime | None
    answer: str
    tries: int
    about: str


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert on the page."""

    row: Row
    rule: str
    icon: str
    state: str
    limit: str
    chart: charts.Threshold
    seconds: float
    sent: list[Sent]


def alert_rows(
    rows: Sequence[Row],
    rules: Mapping[str, Row],
    deliveries: Mapping[str, Sequence[Row]],
    channels: Sequence[Channel],
    now: datetime,
) -> list[AlertRow]:
    """Make the rows of the page."""
    names = {one.id: one.name for one in channels}
    return [_row(row, rules.get(row["rule_id"] or ""), deliveries.get(row["id"], ()), names, now) for row in rows]


def _row(row: Row, rule: Row | None, sent: Sequence[Row], names: Mapping[str, str], now: datetime) -> AlertRow:
    kind = KINDS.get(row["kind"])
    return AlertRow(
        row=row,
        rule=rule["name"] if rule else (kind.title if kind else row["kind"]),
        icon=SEVERITY_ICONS.get(row["severity"], "info"),
        state=SEVERITY_STATES.get(row["severity"], "pending"),
        limit=said(row["threshold"], kind.unit if kind else ""),
        chart=charts.threshold([float(value) for value in json.loads(row["history"])], row["threshold"]),
        seconds=((row["resolved_at"] or now) - (row["opened_at"] or row["first_at"])).total_seconds(),
        sent=[
            Sent(
                names.get(one["channel"], "deleted channel"),
                one["status"],
                one["sent_at"] or one["due_at"],
                one["answer"] or "",
                one["tries"],
                one["about"],
            )
            for one in sent
        ],
    )


def rule_shown(row: Row, channels: Sequence[Channel], settings: Settings) -> dict[str, Any]:
    """Make a rule ready for the page: its limit in words, the names of its channels, why it cannot raise an alert."""
    kind = KINDS[row["kind"]]
    wanted = json.loads(row["channels"])
    goes_to, absent = of_rule(row, channels)
    names = [one.name for one in goes_to]
    shown = {"kind_of": kind, "limit": said(row["threshold"], kind.unit), "to": names, "wanted": wanted}
    return {**row, **shown, "missing": missing_setting(settings, kind.name), "absent": why_absent(row, absent)}
