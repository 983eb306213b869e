"""Schedules in the dashboard and over the API: made, previewed, run, paused, moved apart, refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import execution, firing, jobs, schedules
from workers.services.execution import Ending
from workers.store import schedules as rows
from workers.store.types import Row
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
HOSTILE = "<img src=x onerror=alert(1)>"


def make(yard: Yard, **values: Any) -> Row:
    return schedules.create(yard, {"name": "tick", "task": "samples.noop", "cron": "0 6 * * *", **values}, ADA)


def ran(yard: Yard, schedule: Row, ending: Ending) -> str:
    made = firing.run_now(yard, schedule["id"], Actor("user", ending.outcome, "admin")).job_id
    execution.begin(yard, made, 1, "w")
    execution.end(yard, made, 1, ending)
    return made


def post(auth: Any, client: Any, path: str, **form: Any) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **form})


FORM = {
    "kind": "cron",
    "cron": "30 2 8 * *",
    "timezone": "America/New_York",
    "name": "Usage",
    "task": "samples.sleep",
    "payload": '{"seconds": 1}',
    "overlap": "skip",
    "missed": "catch_up",
    "catch_up_max": "3",
    "jitter_seconds": "20",
    "tags_text": "billing, us",
    "finish_within_minutes": "30",
    "enabled": "on",
}


def test_a_schedule_is_made_changed_duplicated_and_deleted_in_forms(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    made = post(auth, client, "/schedules/new", **FORM)
    assert made.status_code == 303, made.text
    path = made.headers["Location"]
    page = client.get(path).text
    assert "At 02:30, on day 8 of the month" in page
    assert "billing" in page

    shown = client.get(f"{path}/edit").text
    assert 'value="30 2 8 * *"' in shown
    assert post(auth, client, f"{path}/edit", **{**FORM, "kind": "interval", "every": "90"}).status_code == 303
    with light_yard.database.read() as connection:
        (row,) = rows.page(connection)
    assert (row["cron"], row["interval_seconds"], row["catch_up_max"]) == (None, 90, 3)
    assert (row["finish_within_seconds"], row["jitter_seconds"]) == (1800, 20)

    assert "Usage (copy)" in client.get(f"/schedules/new?from={row['id']}").text
    assert "cannot" not in client.get(f"{path}/deletions").text
    assert post(auth, client, f"{path}/deletions").status_code == 303
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"cron": "nonsense"}, "cron", "five fields"),
        ({"timezone": "Mars/Olympus"}, "timezone", "Unknown time zone"),
        ({"payload": "{"}, "payload", "not valid JSON"),
        ({"payload": '{"n": 1}'}, "payload", "not a field"),
        ({"kind": "once", "once_at": "2020-01-01T00:00"}, "once_at", "is in the past"),
        ({"kind": "interval", "every": "0"}, "every", "whole number"),
        ({"name": ""}, "name", "1 to 100"),
        ({"jitter_seconds": "x"}, "jitter_seconds", "must be a whole number"),
        ({"finish_within_minutes": "0"}, "finish_within_minutes", "must be a number above 0"),
        ({"catch_up_max": "0"}, "catch_up_max", "from 1"),
    ],
)
def test_a_form_that_cannot_be_used_comes_back_with_the_reason_and_what_was_typed(
    auth: Any, light_yard: Yard, values: dict[str, str], field: str, words: str
) -> None:
    client = auth.client("olga")
    answer = post(auth, client, "/schedules/new", **{**FORM, **values})
    assert answer.status_code == 422
    assert words in answer.text
    assert f'id="{field}-e"' in answer.text
    assert "billing, us" in answer.text
    with light_yard.database.read() as connection:
        assert rows.page(connection) == []


def test_the_preview_follows_what_is_typed_and_marks_the_days_of_the_shift(auth: Any) -> None:
    client = auth.client("olga")
    client.set_cookie("zone", "Europe/Berlin")
    page = client.get("/schedules/preview?kind=cron&cron=30+2+8+3+*&timezone=America/New_York").text
    assert "New York" in page
    assert "Berlin, yours" in page
    assert (
        "02:30 does not exist on this day"
        in client.get("/schedules/preview?kind=cron&cron=30+2+8-14+3+SUN&timezone=America/New_York").text
    )
    assert "five fields" in client.get("/schedules/preview?kind=cron&cron=x").text
    assert HOSTILE not in client.get(f"/schedules/preview?kind=cron&cron={HOSTILE}&timezone={HOSTILE}").text


def test_the_list_shows_outcomes_and_what_needs_somebody(auth: Any, light_yard: Yard) -> None:
    good, bad = make(light_yard), make(light_yard, name=HOSTILE, tags=["x"])
    ran(light_yard, good, Ending("completed"))
    ran(light_yard, good, Ending("skipped", error="nothing to clean"))
    ran(light_yard, bad, Ending("failed", error=HOSTILE, permanent=True))
    client = auth.client("vera")
    page = client.get("/schedules").text
    assert "Last 2 runs: 1 completed, 1 skipped" in page
    assert "Last run failed" in page
    assert HOSTILE not in page
    assert "nothing to clean" in client.get(f"/schedules/{good['id']}").text
    assert HOSTILE not in client.get(f"/schedules/{bad['id']}").text
    assert good["name"] not in client.get("/schedules?q=img").text.split("h-s")[1].split("h-w")[0]


def test_it_is_run_paused_and_resumed_by_a_click(auth: Any, light_yard: Yard) -> None:
    schedule = make(light_yard)
    client = auth.client("olga")
    for action in ("runs", "pauses", "resumes"):
        assert post(auth, client, f"/schedules/{schedule['id']}/{action}").status_code == 303
    with light_yard.database.read() as connection:
        assert [row["outcome"] for row in rows.fires(connection, schedule["id"])] == ["manual"]
        assert schedules.get(connection, schedule["id"])["enabled"]


def test_a_crowd_is_shown_and_spread(auth: Any, light_yard: Yard) -> None:
    for name in "abcd":
        make(light_yard, name=name)
    client = auth.client("olga")
    assert "4 schedules start in the same minute, every day" in client.get("/schedules/load").text
    asked = client.get("/schedules/crowds/0").text
    moves = {part.split('"')[0]: part.split('value="')[1].split('"')[0] for part in asked.split('name="cron.')[1:]}
    assert sorted(moves.values()) == ["1 6 * * *", "2 6 * * *", "3 6 * * *"]
    form = {f"cron.{key}": cron for key, cron in moves.items()} | {"move": list(moves)}
    assert post(auth, client, "/schedules/crowds/0", **form).status_code == 303
    assert "No three schedules" in client.get("/schedules/load").text
    assert client.get("/schedules/load?of=ran").status_code == 200


def test_the_overview_draws_the_next_day(auth: Any, light_yard: Yard) -> None:
    client = auth.client("vera")
    assert "Next 24 hours" not in client.get("/").text
    make(light_yard)
    make(light_yard, name="often", cron="* * * * *")
    page = client.get("/").text
    assert "Next 24 hours" in page
    assert "1 schedule that runs more often than hourly is not drawn" in page


def test_a_viewer_sees_and_changes_nothing(auth: Any, light_yard: Yard) -> None:
    schedule = make(light_yard)
    client = auth.client("vera")
    assert "Run now" not in client.get(f"/schedules/{schedule['id']}").text
    for path in ("new", f"{schedule['id']}/edit", f"{schedule['id']}/deletions"):
        assert client.get(f"/schedules/{path}").status_code == 403
    for path in (f"{schedule['id']}/runs", f"{schedule['id']}/pauses", "samples", "crowds/0"):
        assert post(auth, client, f"/schedules/{path}").status_code == 403


def test_the_api_makes_lists_changes_runs_and_deletes(app: Flask, auth: Any) -> None:
    client, header = app.test_client(), auth.token("operator")
    body = {"name": "nightly", "task": "samples.noop", "cron": "0 2 * * *", "timezone": "Europe/Berlin", "tags": ["x"]}
    made = client.post("/api/v1/schedules", json=body, headers=header)
    assert made.status_code == 201
    path = made.headers["Location"]
    assert made.json["description"] == "At 02:00"
    assert made.json["next_fire_at"].endswith("Z")
    assert client.post("/api/v1/schedules", json=body, headers=header).status_code == 409

    assert client.get("/api/v1/schedules?tag=x&limit=1", headers=header).json["schedules"][0]["name"] == "nightly"
    changed = client.patch(path, json={"interval_seconds": 30, "enabled": False}, headers=header).json
    assert (changed["cron"], changed["interval_seconds"], changed["next_fire_at"]) == (None, 30, None)
    ran_now = client.post(f"{path}/runs", headers=header)
    assert ran_now.status_code == 202
    assert client.get(f"{path}/fires", headers=header).json["fires"][0]["job_id"] == ran_now.json["job_id"]
    found = client.get(f"/api/v1/jobs?schedule={changed['id']}", headers=header).json["jobs"]
    assert [job["id"] for job in found] == [ran_now.json["job_id"]]
    assert client.delete(path, headers=header).status_code == 204
    assert client.get(path, headers=header).status_code == 404


def test_the_api_previews_fires_and_refuses_hostile_cron(app: Flask, auth: Any) -> None:
    client, header = app.test_client(), auth.token("viewer")
    told = client.post(
        "/api/v1/schedules/preview",
        json={"cron": "30 2 * * *", "timezone": "Europe/Berlin", "after": "2026-03-28T12:00:00Z", "count": 2},
        headers=header,
    ).json
    assert told["description"] == "At 02:30"
    assert told["fires"][0]["fire_at"] == "2026-03-29T01:00:00.000000Z"
    assert told["fires"][0]["local_time"] == "2026-03-29T03:00:00+02:00"
    assert "does not exist" in told["fires"][0]["note"]
    assert told["fires"][1]["note"] == ""
    every = client.post(
        "/api/v1/schedules/preview", json={"interval_seconds": 30, "after": "2026-01-01T00:00:00Z"}, headers=header
    ).json
    assert every["fires"][0]["fire_at"] == "2026-01-01T00:00:30.000000Z"
    for cron in ("0 0 1--100000000 * *", "* * * *", "x" * 10_000, "*/0 * * * *"):
        answer = client.post("/api/v1/schedules/preview", json={"cron": cron}, headers=header)
        assert answer.status_code == 422, cron
    assert client.post("/api/v1/schedules", json={}, headers=header).status_code == 403


def test_a_job_of_a_schedule_leads_back_to_it(auth: Any, light_yard: Yard) -> None:
    schedule = make(light_yard, name="nightly")
    made = ran(light_yard, schedule, Ending("completed"))
    assert f"/schedules/{schedule['id']}" in auth.client("vera").get(f"/jobs/{made}").text
    with light_yard.database.read() as connection:
        assert jobs.get(connection, made)["schedule"] == schedule["id"]
    assert utcnow() - schedule["created_at"] < timedelta(minutes=1)
