"""Reports on the jobs themselves."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Annotated, Any

from pydantic import Field

from workers.broker import outgoing
from workers.domain.clock import rfc3339, utcnow
from workers.domain.plurals import counted
from workers.services import files, statistics
from workers.services.statistics import minute_of
from workers.task import current_settings, job_files, log, set_setting, step, task, the_yard

MOST_TASKS = 20


@task(queue="reports", max_retries=2, timeout_seconds=600)
def daily_analytics(
    hours: Annotated[int, Field(ge=1, le=24 * 31, description="Period of the report, up to now.")] = 24,
    slack_webhook: Annotated[
        str,
        Field(
            max_length=2000,
            description="Slack webhook that receives the report.",
            json_schema_extra={"format": "taskyard-url"},
        ),
    ] = "",
) -> dict[str, Any]:
    """Report what ran in the last day: an HTML and a JSON file to download, kept as a setting, and sent to Slack if asked for."""
    now = utcnow()
    step("count")
    told = _told(now - timedelta(hours=hours), now)
    step("write")
    files.write_file(job_files(), "report.json", json.dumps(told, indent=2).encode())
    files.write_file(job_files(), "report.html", _html(told).encode())
    set_setting("reports.daily_analytics", told)
    if slack_webhook:
        step("send")
        _post(slack_webhook, {"blocks": _blocks(told)})
    return told


@task(queue="reports", max_retries=2, timeout_seconds=600)
def monthly_usage(
    months_ago: Annotated[int, Field(ge=0, le=2, description="1 = the month before this one.")] = 1,
) -> dict[str, Any]:
    """Report the usage of each task in a month: a CSV file to download, and the totals. Roll-ups reach back 90 days."""
    first = utcnow().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(months_ago):
        first = (first - timedelta(days=1)).replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    told = _told(first, following, most=10_000)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("task", "completed", "failed", "run_seconds"))
    writer.writerows((name, one["completed"], one["failed"], one["run_seconds"]) for name, one in told["tasks"].items())
    files.write_file(job_files(), f"usage-{first:%Y-%m}.csv", table.getvalue().encode())
    return {**told, "month": f"{first:%Y-%m}", "tasks": dict(list(told["tasks"].items())[:MOST_TASKS])}


def numbers_of_a_day() -> dict[str, Any]:
    """Tell what ran in the last 24 hours, as the daily report does."""
    return _told(utcnow() - timedelta(hours=24), utcnow())


def _told(since: datetime, until: datetime, most: int = MOST_TASKS) -> dict[str, Any]:
    with the_yard().database.read() as connection:
        found = statistics.tasks_within(connection, minute_of(since), minute_of(until) - 1)
    busiest = sorted(found.items(), key=lambda item: (-item[1]["completed"] - item[1]["failed"], item[0]))
    tasks = {
        name: {"completed": one["completed"], "failed": one["failed"], "run_seconds": round(one["run_ms"] / 1000, 1)}
        for name, one in busiest[:most]
    }
    sums = {name: sum(one[name] for one in found.values()) for name in ("completed", "failed")}
    return {"since": rfc3339(since.astimezone(UTC)), "until": rfc3339(until.astimezone(UTC)), **sums, "tasks": tasks}


def _html(told: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{one['completed']:,}<td>{one['failed']:,}<td>{one['run_seconds']:,}"
        for name, one in told["tasks"].items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Jobs of the day</title><h1>"
        f"{counted(told['completed'], 'job')} completed, {told['failed']:,} failed</h1><p>{told['since']} to {told['until']}</p>"
        f"<table><tr><th>Task<th>Completed<th>Failed<th>Seconds run{rows}</table></html>"
    )


def _blocks(told: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [
        f"• `{name}` {one['completed']:,} completed, {one['failed']:,} failed" for name, one in told["tasks"].items()
    ]
    head = f"{counted(told['completed'], 'job')} completed, {told['failed']:,} failed"
    return [
        {"type": "header", "text": {"type": "plain_text", "text": head}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines[:10]) or "No jobs ran."}},
    ]


def _post(url: str, body: dict[str, Any]) -> None:
    private = current_settings().allow_private_http
    headers = {"Content-Type": "application/json"}
    with outgoing.stream(
        "POST", url, allow_private=private, timeout_seconds=15, headers=headers, content=json.dumps(body).encode()
    ) as answer:
        outgoing.read_bounded(answer, 10_000)
    log(f"Slack answered {answer.status_code}")
    if answer.status_code >= 400:
        raise RuntimeError(f"Slack answered {answer.status_code}.")
