"""The list of jobs: filter, state tabs, pages by keyset, actions on a selection, export."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from dashboard.context import conn, declared, yard
from dashboard.pages.job_columns import COLUMNS, chosen_columns
from dashboard.presenters.jobs import as_json, says
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.streaming import stream
from dashboard.threads import run_in_thread
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.filters import JobFilter
from workers.domain.states import Status
from workers.services import statistics
from workers.services.secret_fields import Declared
from workers.store import job_lists
from workers.store.database import Database
from workers.store.types import Row

bp = Blueprint("jobs", __name__)
ROWS, MOST_ROWS = 50, 200
KEYS = ("status", "task", "queue", "priority", "q", "since", "until", "schedule", "batch", "parent")
EXPORT_STEP = 200
EXPORT_MOST = 1_000_000
Write = Callable[[Sequence[Row], Declared, bool], str]
_FORMULA = frozenset("=+-@|%\uff1d\uff0b\uff0d\uff20")


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
        rows=[{**row, "says": says(row, declared())} for row in found.rows],
        page=found,
        args=args,
        chips=[(name, value) for name, value in args.items() if name != "status"],
        link=lambda **change: _link(
            args | ({"limit": request.args["limit"]} if "limit" in request.args else {}), change
        ),
        columns=chosen_columns(),
        all_columns=COLUMNS,
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
    """Stream every job that the filter matches, as CSV or NDJSON, a slice at a time. Raises TooManyAtOnce."""
    form = request.args.get("format", "csv")
    if form not in {"csv", "ndjson"}:
        raise BadInput("An export is csv or ndjson.", field="format")
    wanted = JobFilter.from_args({name: request.args.get(name, "") for name in KEYS})
    secret = declared()
    write = _csv_rows if form == "csv" else _ndjson_rows
    mimetype = "text/csv" if form == "csv" else "application/x-ndjson"
    return stream(_slices(wanted, yard().database, write, secret), mimetype, f"jobs.{form}")


def _slices(wanted: JobFilter, database: Database, write: Write, secret: Declared) -> Iterator[str]:
    cursor, sent = None, 0
    while sent < EXPORT_MOST:
        with database.read() as connection:
            found = job_lists.jobs_page(connection, wanted, cursor=cursor, limit=EXPORT_STEP, full=True)
        yield run_in_thread(write, found.rows, secret, sent == 0)
        sent += len(found.rows)
        cursor = found.next_cursor
        if cursor is None:
            return


def _ndjson_rows(rows: Sequence[Row], secret: Declared, _is_first: bool) -> str:
    return "".join(json.dumps(as_json(row, secret)) + "\n" for row in rows)


def _csv_rows(rows: Sequence[Row], secret: Declared, is_first: bool) -> str:
    lines: list[str] = []
    for row in rows:
        values = as_json(row, secret)
        if is_first and not lines:
            lines.append(_line(list(values)))
        lines.append(_line([_cell(value) for value in values.values()]))
    return "".join(lines)


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A spreadsheet would run a cell that begins like a formula, behind blanks and in full width too.
    first = text.lstrip(" \t\r\n\u00a0\u3000\ufeff\u200b")[:1]
    is_formula = first in _FORMULA or text[:1] in {"\t", "\r", "\n"}
    return "'" + text if is_formula and not _is_number(text) else text


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
