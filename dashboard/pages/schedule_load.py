"""The week of all schedules: how many start at once, and how to spread them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.context import actor, conn, yard
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.zones import viewer_zone
from workers.domain import cron
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, NotFound
from workers.domain.numbers import parse_whole
from workers.domain.plurals import counted
from workers.services import schedule_load
from workers.services.schedule_load import Week

bp = Blueprint("schedule_load", __name__)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHOWN = 4
DARKEST = 6


@bp.get("/schedules/load")
@requires("viewer")
def page() -> str:
    """Draw the week; `of=ran` shows how many workers were busy instead of what is planned."""
    zone, now = viewer_zone(), utcnow()
    week = schedule_load.planned(conn(), zone, now)
    is_planned = request.args.get("of") != "ran"
    hours: list[float] = [*week.load.hours()] if is_planned else schedule_load.ran(conn(), week, now)
    top = max([*hours, 1.0 if not is_planned else 0.0])
    passed = int((now - week.first).total_seconds() // 3600)
    template = "schedules/_load.html" if "X-Region" in request.headers else "schedules/load.html"
    return render_template(
        template,
        active_page="schedules",
        days=[
            (day, [_cell(hours[24 * n + hour], top, is_planned) for hour in range(24)]) for n, day in enumerate(DAYS)
        ],
        now_at=divmod(passed, 24),
        crowds=[_crowd(week, index) for index in range(min(SHOWN, len(week.crowds)))],
        is_planned=is_planned,
        peak=max(hours, default=0),
        zone=zone,
    )


@bp.route("/schedules/crowds/<number:index>", methods=["GET", "POST"])
@requires("operator")
def stagger(index: str) -> ResponseReturnValue:
    """Show how to spread a crowd, then do it."""
    if request.method == "POST":
        form, chosen = request.form, request.form.getlist("move")
        wanted = {one: form[f"cron.{one}"] for one in chosen if f"cron.{one}" in form}
        revisions = {one: _revision(form[f"revision.{one}"]) for one in chosen if f"revision.{one}" in form}
        moved = schedule_load.move(yard(), wanted, revisions, actor())
        return done(f"{counted(moved, 'schedule')} moved.", "/schedules")
    week = schedule_load.planned(conn(), viewer_zone(), utcnow())
    if not (index.isascii() and index.isdecimal() and len(index) < 3 and int(index) < len(week.crowds)):
        raise NotFound("These schedules no longer start in the same minute.")
    return render_template("schedules/stagger.html", active_page="schedules", crowd=_crowd(week, int(index)))


def _revision(text: str) -> int:
    try:
        return parse_whole(text)
    except ValueError as error:
        raise BadInput("This form has no valid revision. Open the page again.", field="revision") from error


def _cell(value: float, top: float, is_planned: bool) -> dict[str, Any]:
    shade = 0 if not value else max(1, min(DARKEST, round(DARKEST * value / max(top, DARKEST if is_planned else 0.01))))
    words = f"{value:g}" if is_planned else (f"{value:.1f}" if value >= 0.05 else "<.1")
    return {"shade": shade, "words": words if value else "", "is_clash": is_planned and value >= 3 and value == top}


def _crowd(week: Week, index: int) -> dict[str, Any]:
    crowd = week.crowds[index]
    minute = crowd.minutes[0] % 1440
    days = sorted({at // 1440 for at in crowd.minutes})
    when = "every day" if len(days) == 7 else ", ".join(DAYS[one] for one in days)
    moves = week.moves(crowd)
    return {
        "size": crowd.size,
        "at": f"{minute // 60:02d}:{minute % 60:02d}",
        "when": when,
        "names": [week.names[one] for one in crowd.members],
        "moves": [
            {
                "id": one.schedule_id,
                "revision": week.revisions[one.schedule_id],
                "name": week.names[one.schedule_id],
                "before": week.rhythms[one.schedule_id].cron,
                "cron": one.cron,
                "by": one.by_minutes,
                "words": cron.describe(cron.Rhythm(cron=one.cron)),
            }
            for one in moves
        ],
    }
