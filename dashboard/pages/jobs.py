"""The list of jobs: filter, state tabs, pages by keyset, actions on a selection, export."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue

from dashboard.context import conn, yard
from dashboard.presenters.jobs import as_json, says
from dashboard.rendering import render
from dashboard.security import requires
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.filters import JobFilter
from workers.domain.states import Status
from workers.services import statistics
from workers.store import job_lists, secret_fields

bp = Blueprint("jobs", __name__)
ROWS, MOST_ROWS = 50, 200
KEYS = ("status", "task", "queue", "priority", "q", "since", "until", "schedule", "batch", "parent")
EXPORT_STEP = 200
EXPORT_MOST = 1_000_000


@bp.get("/jobs")
@requires("viewer")
def page() -> ResponseReturnValue:
    """List jobs, newest first."""
    if "words" in request.args:
        return redirect("/jobs?" + urlencode(_from_words(request.args)))
    now = utcnow()
    args = {name: request.args[name] for name in KEYS if request.args.get(name)}
    wanted = JobFilter.from_args(args, now)
    found = job_lists.jobs_page(conn(), wanted, cursor=request.args.get("cursor"), limit=_limit())
    counts = statistics.status_counts(conn())
    return render(
        "jobs/page.html",
        {"jobs": "jobs/_table.html"},
        active_page="jobs",
        rows=[{**row, "says": says(row)} for row in found.rows],
        page=found,
        args=args,
        chips=[(name, value) for name, value in args.items() if name != "status"],
        link=lambda **change: _link(
            args | ({"limit": request.args["limit"]} if "limit" in request.args else {}), change
        ),
        counts=counts,
        total=sum(counts.values()),
        now=now,
    )


def _limit() -> int:
    given = request.args.get("limit", str(ROWS))
    if not (given.isascii() and given.isdigit() and len(given) < 4 and 1 <= int(given) <= MOST_ROWS):
        raise BadInput(f"limit must be from 1 to {MOST_ROWS}.", field="limit")
    return int(given)


@bp.get("/jobs/export")
@requires("viewer")
def export() -> ResponseReturnValue:
    """Stream every job that the filter matches, as CSV or NDJSON, a slice at a time."""
    form = request.args.get("format", "csv")
    if form not in {"csv", "ndjson"}:
        raise BadInput("An export is csv or ndjson.", field="format")
    wanted = JobFilter.from_args({name: request.args.get(name, "") for name in KEYS})
    secret = secret_fields.secret_names(conn())
    shown = (as_json(row, secret.get(row["task"], ())) for row in _slices(wanted, yard().database))
    lines = _csv(shown) if form == "csv" else (json.dumps(values) + "\n" for values in shown)
    mimetype = "text/csv" if form == "csv" else "application/x-ndjson"
    answer = Response(lines, mimetype=mimetype)
    answer.headers["Content-Disposition"] = f"attachment; filename=jobs.{form}"
    return answer


def _slices(wanted: JobFilter, database: Any) -> Iterator[Any]:
    cursor, sent = None, 0
    while sent < EXPORT_MOST:
        with database.read() as connection:
            found = job_lists.jobs_page(connection, wanted, cursor=cursor, limit=EXPORT_STEP, full=True)
        yield from found.rows
        sent += len(found.rows)
        cursor = found.next_cursor
        if cursor is None:
            return


def _csv(jobs: Iterable[dict[str, Any]]) -> Iterator[str]:
    names: list[str] = []
    for job in jobs:
        if not names:
            names = list(job)
            yield _line(names)
        yield _line([_cell(job[name]) for name in names])


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A spreadsheet would run a cell that begins like a formula.
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _link(args: dict[str, str], change: dict[str, str | None]) -> str:
    merged = {**args, **change}
    kept = {name: value for name, value in merged.items() if value}
    return "/jobs" + (f"?{urlencode(kept)}" if kept else "")


def _from_words(args: Any) -> dict[str, str]:
    known = {name: args[name] for name in KEYS if args.get(name)}
    free: list[str] = []
    try:
        parts = shlex.split(args["words"])
    except ValueError:
        parts = args["words"].split()
    for part in parts:
        key, colon, value = part.partition(":")
        if colon and key in KEYS and value:
            known[key] = value
        else:
            free.append(part)
    if free:
        known["q"] = " ".join(free)[:200]
    return {name: value for name, value in known.items() if name != "status" or value in set(Status)}
