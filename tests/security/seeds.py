"""Rows of every kind, so that an address with an id leads somewhere."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete

from tests.people import TESTS
from workers.domain.clock import utcnow
from workers.domain.filters import JobFilter
from workers.domain.ids import new_id
from workers.services import alerting, bulk_actions, execution, jobs, schedules, tokens, triggers
from workers.services.conditions import Found
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import alerts
from workers.store import tokens as token_rows
from workers.yard import Yard


def plant(yard: Yard) -> dict[str, str]:
    """Insert a row of each kind; their ids by the names that the parts of addresses have."""
    name = f"seed {new_id()}"
    job_id = jobs.enqueue(yard, NewJob("samples.fail", {"message": "seed"}, max_retries=0)).job_id
    execution.begin(yard, job_id, 1, "w")
    execution.end(yard, job_id, 1, Ending("failed", error="boom", traceback="seed", result=json.dumps({"a": 1})))
    folder = yard.settings.files_dir / job_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text("<p>seed</p>")
    return {
        "job_id": job_id,
        "schedule_id": schedules.create(yard, {"name": name, "task": "samples.noop", "cron": "0 6 * * *"}, TESTS)["id"],
        "trigger_id": triggers.create(yard, {"name": name, "task": "samples.noop", "listens": "a.b"}, TESTS)["id"],
        "action_id": bulk_actions.create(yard, "retry", JobFilter(q="nothing like it"), None, TESTS)["id"],
        "channel_id": _channel(yard),
        "alert_id": _raise_alert(yard, name),
        "token_id": _add_token(yard, name),
    }


def _raise_alert(yard: Yard, about: str) -> str:
    with yard.database.write() as connection:
        rule: Any = alerts.rule(connection, "rule-cpu")
        # A rule opens 50 alerts at most: each seed takes the place of the one before it.
        connection.execute(delete(alerts.ALERTS).where(alerts.ALERTS.c.title == "Seed"))
        found = Found(about=about, title="Seed", detail="seed", link="/", value=1.0)
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
        return next(row["id"] for row in alerts.open_alerts(connection) if row["cause"].endswith(about))


def _add_token(yard: Yard, name: str) -> str:
    tokens.create(yard, name, "viewer", None, TESTS)
    with yard.database.read() as connection:
        return next(row["id"] for row in token_rows.all_tokens(connection) if row["name"] == name)


def _channel(yard: Yard) -> str:
    # One for all: testing a rule sends to each of them. Its target is refused when it is tried, so nothing leaves here.
    row = {"name": "seed", "url": "json://127.0.0.1:1/", "created_at": utcnow(), "created_by": "tests"}
    with yard.database.write() as connection:
        alerts.add_channel(connection, {**row, "id": new_id()})
        return str(alerts.channels(connection)[0]["id"])
