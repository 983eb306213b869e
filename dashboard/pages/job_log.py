"""The log of a job: pages of it for the job's page and for its script, and all of it as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, make_response, request
from flask.typing import ResponseReturnValue

from dashboard.context import conn, yard
from dashboard.presenters.log_lines import html_size, show_lines
from dashboard.security import requires
from dashboard.slices import in_slices, pause, render_template
from dashboard.streaming import stream
from dashboard.threads import run_in_thread
from dashboard.zones import SCHEDULES, show_schedule_zone, viewer_zone, zone_choice
from workers.domain.errors import BadInput
from workers.domain.log_bounds import LEVELS
from workers.domain.numbers import parse_whole
from workers.domain.states import FINAL, Status
from workers.domain.texts import quoted
from workers.domain.untrusted import visible_line
from workers.services import jobs
from workers.store import logs, schedules
from workers.store.log_pages import Budget, LogCursor, LogFilter, LogPage, read_page
from workers.store.types import Row

bp = Blueprint("job_log", __name__)
FIRST = Budget(60, 6_000, html_size)  # with the job's page; its script reads on at once
FURTHER = Budget(300, 60_000, html_size)
LEAST_LEVELS = {"": "All levels", "info": "Info and above", "warning": "Warning and above", "error": "Error"}
MAX_WORDS = 200


@dataclass(frozen=True, slots=True)
class LogRequest:
    """What a request asks of a log."""

    cursor: LogCursor
    wanted: LogFilter

    @property
    def filters(self) -> dict[str, str]:
        """Return the parameters of the filter, those that are set."""
        wanted = self.wanted
        named = {"q": wanted.words, "level": wanted.least_level, "attempt": str(wanted.attempt or "")}
        return {name: value for name, value in named.items() if value}


@bp.get("/jobs/<id:job_id>/log")
@requires("viewer")
def page(job_id: str) -> Response:
    """Answer a page of the log as the list of its lines."""
    job = jobs.get(conn(), job_id)
    show_zone_of(job)
    return make_response(render_template("job/_log.html", job=job, **log_values(job, FURTHER)))


@bp.get("/jobs/<id:job_id>/logs.txt")
@requires("viewer")
def log_file(job_id: str) -> ResponseReturnValue:
    """Stream the whole log as text."""
    jobs.get(conn(), job_id)
    return stream(_lines(yard().database, job_id), "text/plain", f"{job_id}.log")


def show_zone_of(job: Row) -> None:
    """Show the times of a job that a schedule made in that schedule's zone, to viewers who want this."""
    schedule = schedules.get(conn(), job["schedule"]) if job["schedule"] and zone_choice() == SCHEDULES else None
    if schedule is not None:
        show_schedule_zone(schedule["timezone"])


def log_values(job: Row, budget: Budget = FIRST) -> dict[str, Any]:
    """Return what the templates of a log need, for the request at hand. Raises BadInput."""
    wanted, zone = read_request(), viewer_zone()
    found = read_page(conn(), job["id"], wanted.cursor, wanted.wanted, budget, pause)
    return {
        "log": found,
        "lines": list(in_slices(show_lines(found, zone, wanted.wanted.words, job["attempt"] > 1))),
        "log_filter": wanted.wanted,
        "log_query": urlencode({"tab": "logs", **wanted.filters}),
        "log_levels": LEAST_LEVELS,
        "log_empty": _empty_words(job, found, wanted),
        "is_live": Status(job["status"]) not in FINAL,
    }


def read_request() -> LogRequest:
    """Read the parameters of the request. Raises BadInput."""
    words, level = request.args.get("q", "").strip(), request.args.get("level", "")
    if len(words) > MAX_WORDS:
        raise BadInput(f"q has at most {MAX_WORDS} characters; this one has {len(words):,}.", field="q")
    if level not in {"", *LEVELS}:
        raise BadInput(f"Unknown level {quoted(level)}. Use one of: {', '.join(LEVELS)}.", field="level")
    cursor = LogCursor(before=_whole("before"), after=_whole("after"))
    return LogRequest(cursor, LogFilter(_whole("attempt"), level, words))


def _whole(name: str) -> int | None:
    text = request.args.get(name, "")
    if not text:
        return None
    try:
        number = parse_whole(text)
    except ValueError as error:
        raise BadInput(f"{name} {error}.", field=name) from error
    if not 0 <= number <= 2**53:
        raise BadInput(f"{name} must be from 0 to 2^53.", field=name)
    return min(number, 1_000_000) if name == "attempt" else number


def _empty_words(job: Row, found: LogPage, wanted: LogRequest) -> str:
    if found.lines:
        return ""
    if wanted.filters:
        return "No lines match this filter."
    if Status(job["status"]) in FINAL:
        return "This job has no log lines."
    return "This job has no log lines yet."


def _lines(database: Any, job_id: str) -> Iterator[str]:
    after = 0
    while True:
        with database.read() as connection:
            found = list(in_slices(logs.page(connection, job_id, after=after, limit=1000)))
        if not found:
            return
        yield run_in_thread(_text_of, found)
        after = found[-1]["id"]


def _text_of(lines: Sequence[Row]) -> str:
    return "".join(f"{row['at'].isoformat()} {row['level']:<7} {visible_line(row['line'])}\n" for row in lines)
