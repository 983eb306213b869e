"""Schedules to begin with; one click makes those whose task workers know."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.services import catalogue, schedules
from workers.store.schedules import name_is_taken
from workers.yard import Yard

SAMPLES: tuple[dict[str, Any], ...] = (
    {"name": "Daily digest", "task": "email.digest", "cron": "0 8 * * *", "finish_within_seconds": 1800},
    {"name": "Daily report", "task": "reports.daily_analytics", "cron": "0 6 * * *", "timezone": "America/New_York"},
    {"name": "Inventory sync", "task": "inventory.sync", "cron": "*/30 * * * *", "overlap": "skip"},
    {"name": "E-mail queue", "task": "email.flush_outbox", "cron": "* * * * *", "overlap": "skip", "missed": "skip"},
    {"name": "Weekly clean-up", "task": "maintenance.cleanup", "cron": "0 2 * * SUN"},
    {"name": "Monthly usage", "task": "reports.monthly_usage", "cron": "0 3 1 * *"},
    {
        "name": "Dashboard metrics",
        "task": "metrics.dashboard",
        "cron": "*/5 * * * *",
        "overlap": "skip",
        "missed": "skip",
    },
)


def missing(connection: Connection) -> list[dict[str, Any]]:
    """List the samples that are not there yet and whose task is in the catalogue."""
    known = {row["name"] for row in catalogue.list_tasks(connection)}
    return [one for one in SAMPLES if one["task"] in known and not name_is_taken(connection, one["name"], "")]


def install(yard: Yard, actor: Actor) -> int:
    """Make the samples that are missing; tells how many. Raises Unavailable."""
    with yard.database.read() as connection:
        wanted = missing(connection)
    for one in wanted:
        schedules.create(yard, {**one, "tags": ["sample"]}, actor)
    return len(wanted)
