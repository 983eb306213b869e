"""The list of jobs: filter, state tabs, pages by keyset, actions on a selection, export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from dashboard.context import conn, declared, yard
from dashboard.job_query import read_query
from dashboard.pages.job_columns import COLUMNS, chosen_columns
from dashboard.presenters import filters
from dashboard.presenters.jobs import as_json, says
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
from dashboard.streaming import stream
from dashboard.threads import run_in_thread
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.filters import JobFilter
from workers.domain.ids import is_id
from workers.services import bulk_selections, job_filters
from workers.services.secret_fields import Declared
from workers.store import job_lists
from workers.store.database import Database
from workers.store.types import Row

bp = Blueprint("jobs", __name__)
ROWS, MOST_ROWS = 50, 200
PLACES = ("cursor", "limit")  # what an address holds beside its filter
ALL_ACTIONS = (("retry", "Retry"), ("run_now", "Run now"), ("cancel", "Cancel"), ("delete", "Delete"))
EXPORT_STEP = 200
EXPORT_MOST = 1_000_000
Write = Callable[[Sequence[Row], Declared, bool], str]
_FORMULA = frozenset("=+-@|%\uff1d\uff0b\uff0d\uff20")


@bp.get("/jobs")
@requires("viewer")
@shares_regions
def page() -> ResponseReturnValue:
    """List jobs, newest first. A filter that is not understood is marked, and the rest of it applied."""
    now = utcnow()
    query = read_query(request.args, now, PLACES)
    if query.is_changed:
        return redirect(query.address("/jobs", **_limit_given()))
    settings = yard().settings
    wanted = job_filters.resolve(conn(), settings, query.wanted, now)
    found = job_lists.jobs_page(conn(), wanted, cursor=request.args.get("cursor"), limit=_limit())
    counts = job_filters.count_by_state(conn(), settings, wanted, now)
    answer = render(
        "jobs/page.html",
        {"jobs": "jobs/_table.html"},
        active_page="jobs",
        rows=[{**row, "says": says(row, declared())} for row in found.rows],
        page=found,
        query=query,
        args=query.args,
        wanted=wanted,
        chips=filters.chips(query.args),
        tabs=filters.tabs(counts, query.args),
        is_live_count=wanted.is_empty and wanted.hides_system,
        problems=[(problem, filters.options(problem.text)) for problem in query.problems],
        suggestions=filters.suggestions(),
        link=lambda **change: _link({**query.args, "words": query.words, **_limit_given()}, change),
        all_actions=[(name, f"{verb}…") for name, verb in ALL_ACTIONS if bulk_selections.permits(name, wanted)],
        columns=chosen_columns(),
        all_columns=COLUMNS,
        total=counts[job_filters.ALL].number,
        now=now,
    )
    # A live update of the page goes on as ever; the page itself says that the address cannot be used as it is.
    if query.problems and "X-Region" not in request.headers:
        answer.status_code = 422
    return answer


@bp.get("/jobs/rows")
@requires("viewer")
def rows() -> ResponseReturnValue:
    """Show the rows of some jobs that a list on the screen holds, as they are now; those that are deleted are missing."""
    ids = [job_id for job_id in request.args.getlist("id") if is_id(job_id)][:MOST_ROWS]
    shown = [{**row, "says": says(row, declared())} for row in job_lists.rows_named(conn(), ids)]
    return render("jobs/_rows.html", {}, rows=shown, columns=chosen_columns(), now=utcnow())


def _limit_given() -> dict[str, str]:
    return {"limit": request.args["limit"]} if "limit" in request.args else {}


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
        raise BadInput("The format must be csv or ndjson.", field="format")
    now = utcnow()
    wanted = job_filters.resolve(conn(), yard().settings, read_query(request.args, now, {"format"}).check(), now)
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
