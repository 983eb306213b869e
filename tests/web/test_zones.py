"""Pages show times in one zone, the viewer's, and say which it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dashboard.presenters import words
from workers.domain.actors import Actor
from workers.services import execution, jobs, monitoring, schedules
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
PAGES = (
    "/",
    "/jobs",
    "/queues",
    "/queues/default",
    "/schedules",
    "/workers",
    "/alerts",
    "/stuck",
    "/health",
    "/tasks",
    "/triggers",
)
TOKYO, KOLKATA = "Asia/Tokyo", "Asia/Kolkata"


@pytest.fixture
def schedule_id(light_yard: Yard) -> str:
    values = {"name": "Nightly", "task": "samples.noop", "cron": "30 2 * * *", "timezone": KOLKATA}
    return str(schedules.create(light_yard, values, ADA)["id"])


@pytest.fixture
def job_id(light_yard: Yard) -> str:
    made = jobs.enqueue(light_yard, NewJob("samples.fail", max_retries=0)).job_id
    execution.begin(light_yard, made, 1, "w")
    execution.end(light_yard, made, 1, Ending("failed", error="no"))
    monitoring.sweep(light_yard)
    return made


def viewer(auth: Any, zone: str, choice: str = "") -> Any:
    client = auth.client("ada")
    client.set_cookie("zone", zone)
    if choice:
        client.set_cookie("times", choice)
    return client


def test_every_page_shows_the_zone_of_the_browser(auth: Any, schedule_id: str, job_id: str) -> None:
    client = viewer(auth, TOKYO)
    for path in (
        *PAGES,
        f"/jobs/{job_id}",
        f"/jobs/{job_id}?tab=events",
        f"/schedules/{schedule_id}",
        "/audit",
        "/settings",
    ):
        page = client.get(path).text
        assert f'data-zone="{TOKYO}"' in page, path
        assert f"Times in <b>{TOKYO}</b> (UTC+09:00)" in page, path
        assert not re.search(r'title="[^"]*\d UTC"', page), path
    page = client.get(f"/jobs/{job_id}").text
    created = datetime.now(ZoneInfo(TOKYO))
    assert re.search(rf'title="{created:%Y-%m-%d} \d\d:\d\d:\d\d \+09:00 {TOKYO}"', page)


def test_sentences_of_the_engine_are_in_the_zone_of_the_page(auth: Any, light_yard: Yard) -> None:
    due = datetime(2030, 1, 31, 20, 0, tzinfo=UTC)
    made = jobs.enqueue(light_yard, NewJob("samples.noop", scheduled_for=due)).job_id
    page = viewer(auth, TOKYO).get(f"/jobs/{made}").text
    assert f"2030-02-01 05:00:00 +09:00 {TOKYO}" in page
    assert "20:00:00 UTC" not in page


def test_the_choice_is_kept_and_leads_back(auth: Any, job_id: str) -> None:
    client = viewer(auth, TOKYO)
    form = {"csrf_token": auth.csrf(client), "times": "utc"}
    address = f"http://localhost/jobs/{job_id}?tab=events"
    answer = client.post("/settings/times", data=form, headers={"Referer": address})
    assert (answer.status_code, answer.location) == (303, f"/jobs/{job_id}?tab=events")
    page = client.get(f"/jobs/{job_id}").text
    assert 'data-zone="UTC"' in page
    assert f"+09:00 {TOKYO}" not in page
    assert re.search(r'value="utc" aria-pressed="true"', page)
    for referrer in ("http://localhost/settings/tokens", "http://evil.example/jobs", "nonsense", ""):
        answer = client.post("/settings/times", data=form, headers={"Referer": referrer})
        assert (answer.status_code, answer.location) == (303, "/")


def test_a_choice_that_does_not_exist_changes_nothing(auth: Any) -> None:
    client = viewer(auth, TOKYO)
    answer = client.post("/settings/times", data={"csrf_token": auth.csrf(client), "times": "mars"})
    assert answer.status_code == 422
    assert "times=" not in answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "", "x" * 3000, "Asia/Tokyo\u0000", "<b>"])
def test_a_zone_that_does_not_exist_is_utc(auth: Any, name: str) -> None:
    page = viewer(auth, name, name).get("/")
    assert page.status_code == 200
    assert 'data-zone="UTC"' in page.text


def test_the_zone_of_a_schedule_is_for_its_own_pages(auth: Any, schedule_id: str, light_yard: Yard) -> None:
    client = viewer(auth, TOKYO, "schedule")
    assert f'data-zone="{KOLKATA}"' in client.get(f"/schedules/{schedule_id}").text
    assert f'data-zone="{TOKYO}"' in client.get("/jobs").text
    made = client.post(f"/schedules/{schedule_id}/runs", data={"csrf_token": auth.csrf(client)})
    assert f'data-zone="{KOLKATA}"' in client.get(made.location).text
    with light_yard.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM schedule_fires")
        connection.exec_driver_sql("DELETE FROM schedules")
    assert f'data-zone="{TOKYO}"' in client.get(made.location).text


def test_a_time_of_another_day_has_its_date_and_one_alone_its_zone() -> None:
    now = datetime(2026, 11, 27, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert words.clock(now - timedelta(minutes=10), now) == "00:20:00"
    assert words.clock(now - timedelta(hours=1), now) == "26 Nov 23:30:00"
    assert words.clock(now - timedelta(days=400), now) == "23 Oct 2025 00:30:00"
    assert words.zone_short(now) == "CET"
    assert words.zone_short(now.astimezone(ZoneInfo("America/Sao_Paulo"))) == "UTC-03:00"
    assert words.exact(now, "Europe/Berlin") == "2026-11-27 00:30:00 +01:00 Europe/Berlin"
    assert words.exact(now.astimezone(UTC)) == "2026-11-26 23:30:00 UTC"


def test_fields_of_time_name_the_zone_that_they_are_read_in(auth: Any, schedule_id: str) -> None:
    page = viewer(auth, TOKYO).get(f"/schedules/{schedule_id}/edit").text
    for name in ("once_at", "starts_at", "ends_at"):
        label = page.split(f'<label for="{name}">', 1)[1].split("</label>", 1)[0]
        assert f"<span data-zone-name>{KOLKATA}</span>" in label
