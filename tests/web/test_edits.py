"""Two people who edit the same thing: forms and calls of schedules, triggers and alert rules refuse the second."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.web.test_schedule_pages import ADA, FORM, make, post
from workers.services import firing, schedules, triggers
from workers.services.schedule_values import get
from workers.yard import Yard

TRIGGER = {
    "kind": "event",
    "name": "watch",
    "listens": "orders.created",
    "task": "samples.noop",
    "conditions": "{}",
    "payload": "{}",
    "cooldown_seconds": "1",
    "cap_per_hour": "5",
    "enabled": "on",
}
RULE = {
    "kind": "cpu",
    "name": "CPU",
    "threshold": "95",
    "window_seconds": "300",
    "severity": "warning",
    "cooldown_seconds": "300",
    "is_enabled": "on",
}


def schedule_of(yard: Yard) -> str:
    return f"schedules/{make(yard, payload={})['id']}"


def trigger_of(yard: Yard) -> str:
    values = {"name": "watch", "listens": "orders.created", "task": "samples.noop"}
    return f"triggers/{triggers.create(yard, values, ADA)['id']}"


def rule_of(_yard: Yard) -> str:
    return "alert-rules/rule-cpu"


def form_path(path: str) -> str:
    return f"/{path}" if path.startswith("alert") else f"/{path}/edit"


KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "schedule": (schedule_of, {**FORM, "task": "samples.noop", "payload": "{}"}),
    "trigger": (trigger_of, TRIGGER),
    "alert rule": (rule_of, RULE),
}
everything = pytest.mark.parametrize(("create", "form"), KINDS.values(), ids=list(KINDS))


def opened(page: str) -> str:
    """Return the revision that a form was opened with."""
    found = re.search(r'name="revision" value="(\d+)"', page)
    assert found
    return found[1]


@everything
def test_a_form_of_an_older_revision_comes_back_with_both_values_and_what_was_typed(
    auth: Any, light_yard: Yard, create: Any, form: dict[str, str]
) -> None:
    path = form_path(create(light_yard))
    hers, his = auth.client("ada"), auth.client("ada")
    revision = opened(hers.get(path).text)
    assert opened(his.get(path).text) == revision
    assert post(auth, hers, path, **{**form, "name": "Her name", "revision": revision}).status_code == 303

    refused = post(auth, his, path, **{**form, "name": "His <b>name</b>", "revision": revision})
    assert refused.status_code == 409
    shown = html.unescape(refused.text)
    assert "Somebody else has changed" in shown
    assert "Stored value" in shown
    assert "Her name" in shown
    assert 'value="His <b>name</b>"' in shown
    assert "<b>name</b>" not in refused.text
    assert int(opened(refused.text)) == int(revision) + 1

    saved = post(auth, his, path, **{**form, "name": "His name", "revision": opened(refused.text)})
    assert saved.status_code == 303
    assert "His name" in his.get(path).text


@everything
def test_a_call_with_an_older_etag_is_refused_with_both_values(
    auth: Any, light_yard: Yard, app: Any, create: Any, form: dict[str, str]
) -> None:
    address, headers, client = f"/api/v1/{create(light_yard)}", auth.token("admin"), app.test_client()
    etag = client.get(address, headers=headers).headers["ETag"]
    first = client.patch(address, json={"name": "hers"}, headers={**headers, "If-Match": etag})
    assert (first.status_code, first.json["name"]) == (200, "hers")
    assert first.headers["ETag"] != etag

    second = client.patch(address, json={"name": "his"}, headers={**headers, "If-Match": etag})
    assert second.status_code == 409
    assert second.json["differences"] == [{"field": "name", "yours": "his", "stored": "hers"}]
    assert f'"{second.json["revision"]}"' == first.headers["ETag"]
    for tag in ("*", first.headers["ETag"], f'"0", {first.headers["ETag"]}'):
        found = client.get(address, headers=headers).headers["ETag"]
        tag = tag if tag == "*" else f'"0", {found}'
        answer = client.patch(address, json={"name": f"by {tag[-3:]}"}, headers={**headers, "If-Match": tag})
        assert answer.status_code == 200, answer.text
    assert client.patch(address, json={"name": "last"}, headers=headers).status_code == 200


@everything
@pytest.mark.parametrize(
    "tag", ['W/"1"', '"x"', "", '""', '"99999999999999999999999"', '"-1"', '"١"'.encode().decode("latin-1")]
)
def test_an_etag_that_is_no_revision_matches_nothing(
    auth: Any, light_yard: Yard, app: Any, create: Any, form: dict[str, str], tag: str
) -> None:
    address, headers = f"/api/v1/{create(light_yard)}", auth.token("admin")
    answer = app.test_client().patch(address, json={"name": "x"}, headers={**headers, "If-Match": tag})
    assert answer.status_code == 409


@pytest.mark.parametrize("create", [schedule_of, trigger_of])
def test_a_deletion_with_an_older_etag_is_refused(auth: Any, light_yard: Yard, app: Any, create: Any) -> None:
    address, headers, client = f"/api/v1/{create(light_yard)}", auth.token("operator"), app.test_client()
    etag = client.get(address, headers=headers).headers["ETag"]
    client.patch(address, json={"name": "changed"}, headers=headers)
    assert client.delete(address, headers={**headers, "If-Match": etag}).status_code == 409
    assert client.get(address, headers=headers).status_code == 200
    assert client.delete(address, headers=headers).status_code == 204


def test_secrets_are_masked_in_both_values(auth: Any, light_yard: Yard, app: Any) -> None:
    values = {"url": "https://example.com", "headers": {"Authorization": "Bearer stored-secret-1"}}
    schedule = make(light_yard, task="http.request", payload=values)
    address, headers, client = f"/api/v1/schedules/{schedule['id']}", auth.token("admin"), app.test_client()
    client.patch(address, json={"name": "x"}, headers=headers)
    payload = {**values, "headers": {"Authorization": "Bearer typed-secret-2"}, "method": "POST"}
    refused = client.patch(address, json={"payload": payload}, headers={**headers, "If-Match": '"1"'})
    assert refused.status_code == 409
    assert refused.json["differences"][0]["field"] == "payload"
    assert "secret" not in refused.text


def test_a_form_that_is_open_while_its_schedule_runs_can_be_saved(auth: Any, light_yard: Yard) -> None:
    schedule = make(light_yard, payload={})
    client = auth.client("olga")
    revision = opened(client.get(f"/schedules/{schedule['id']}/edit").text)
    firing.run_now(light_yard, schedule["id"], ADA)
    saved = post(
        auth, client, f"/schedules/{schedule['id']}/edit", **{**FORM, "revision": revision, "name": "still saved"}
    )
    assert saved.status_code == 303


def test_a_form_that_is_left_alone_changes_nothing(auth: Any, light_yard: Yard) -> None:
    moments = {
        "starts_at": datetime(2031, 1, 1, 6, 0, 7, tzinfo=UTC),
        "ends_at": datetime(2032, 5, 5, 5, 5, 5, tzinfo=UTC),
    }
    schedule = make(light_yard, payload={}, finish_within_seconds=100, **moments)
    client = auth.client("olga")
    page = client.get(f"/schedules/{schedule['id']}/edit").text
    fields = dict(re.findall(r'<input class="input[^>]*? name="(\w+)"[^>]*? value="([^"]*)"', page))
    fields |= {"kind": "cron", "task": "samples.noop", "payload": "{}", "overlap": "allow", "missed": "run_once"}
    fields |= {"enabled": "on", "revision": opened(page)}
    assert post(auth, client, f"/schedules/{schedule['id']}/edit", **fields).status_code == 303
    with light_yard.database.read() as connection:
        assert get(connection, schedule["id"]) == schedule


@pytest.mark.parametrize("page", ["deletions", "edit", ""])
def test_pages_of_a_schedule_open_while_a_run_now_job_runs_and_after_it_is_deleted(
    auth: Any, light_yard: Yard, page: str
) -> None:
    from workers.services import jobs

    schedule = make(light_yard, payload={})
    made = firing.run_now(light_yard, schedule["id"], ADA)
    client = auth.client("olga")
    address = f"/schedules/{schedule['id']}/{page}".rstrip("/")
    assert client.get(address).status_code == 200
    assert page != "deletions" or made.job_id in client.get(address).text
    jobs.delete(light_yard, made.job_id, ADA)
    assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"finish_within_minutes": "99999"}, "Deadline must be a number above 0, up to 10,080 minutes."),
        ({"finish_within_minutes": "x"}, "Deadline must be a number"),
        ({"kind": "interval", "every": "999999", "every_unit": "hours"}, "whole number from 1 to 8,784 (hours)"),
        ({"jitter_seconds": "9999"}, "Jitter must be a whole number from 0 to 3,600."),
        ({"max_retries": "101"}, "Retries must be a whole number"),
        ({"timeout_seconds": "-1"}, "Timeout must be a number"),
        ({"kind": "once", "once_at": "nonsense"}, "At is invalid"),
        ({"kind": "once", "once_at": ""}, "Enter the date and time"),
        ({"ends_at": "2020-01-01T00:00"}, "The end is in the past"),
    ],
)
def test_errors_of_the_form_speak_of_its_own_fields_and_units(
    auth: Any, light_yard: Yard, values: dict[str, str], words: str
) -> None:
    answer = post(auth, auth.client("olga"), "/schedules/new", **{**FORM, **values})
    assert answer.status_code == 422
    assert words in html.unescape(answer.text)
    assert "_seconds must" not in answer.text
    assert "_at cannot" not in answer.text


def test_a_rule_form_that_cannot_be_read_keeps_what_was_typed(auth: Any, light_yard: Yard) -> None:
    answer = post(auth, auth.client("ada"), "/alert-rules/rule-cpu", **{**RULE, "name": "Mine", "threshold": "abc"})
    assert answer.status_code == 422
    assert 'value="abc"' in answer.text
    assert 'value="Mine"' in answer.text


def test_a_trigger_whose_task_is_gone_keeps_it_in_its_form(auth: Any, light_yard: Yard) -> None:
    from tests.services.test_schedule_edits import forget_task

    path = trigger_of(light_yard)
    forget_task(light_yard, "samples.noop")
    client = auth.client("olga")
    page = client.get(f"/{path}/edit").text
    assert "<option selected>samples.noop</option>" in page
    assert post(auth, client, f"/{path}/edit", **{**TRIGGER, "name": "new"}).status_code == 303
    assert client.get(f"/{path}/deletions").status_code == 200


def test_once_in_the_gap_of_a_shift_is_the_shift(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    form = {**FORM, "kind": "once", "once_at": "2031-03-30T02:30", "timezone": "Europe/Berlin"}
    made = post(auth, client, "/schedules/new", **form)
    assert made.status_code == 303, made.text
    with light_yard.database.read() as connection:
        (row,) = schedules.schedules.page(connection)
    assert row["once_at"].isoformat() == "2031-03-30T01:00:00+00:00"


def test_moves_that_were_computed_of_an_older_edit_are_refused_and_nothing_moves(auth: Any, light_yard: Yard) -> None:
    made = [make(light_yard, name=name, payload={}) for name in "abcd"]
    client = auth.client("olga")
    page = client.get("/schedules/crowds/0").text
    form: dict[str, Any] = dict(re.findall(r'name="((?:cron|revision)\.[^"]+)" value="([^"]+)"', page))
    form["move"] = [name.partition(".")[2] for name in form if name.startswith("cron.")]
    moved = next(one for one in made if one["id"] == form["move"][-1])
    schedules.change(light_yard, moved["id"], {"cron": "30 7 * * *"}, ADA)
    assert post(auth, client, "/schedules/crowds/0", **form).status_code == 409
    with light_yard.database.read() as connection:
        stored = [get(connection, one["id"])["cron"] for one in made]
    assert sorted(stored) == ["0 6 * * *"] * 3 + ["30 7 * * *"]


@pytest.mark.parametrize("kind", ["schedule", "trigger"])
def test_what_was_changed_since_its_deletion_was_asked_for_is_shown_again(
    auth: Any, light_yard: Yard, kind: str
) -> None:
    path = f"schedules/{make(light_yard)['id']}" if kind == "schedule" else trigger_of(light_yard)
    client = auth.client("olga")
    form = {"revision": re.findall(r'name="revision" value="([0-9]+)"', client.get(f"/{path}/deletions").text)[0]}
    service = schedules if kind == "schedule" else triggers
    service.change(light_yard, path.partition("/")[2], {"name": "renamed"}, ADA)
    refused = post(auth, client, f"/{path}/deletions", **form)
    assert refused.status_code == 409
    assert f"Somebody changed this {kind}" in refused.text
    assert "renamed?" in refused.text
    form = {"revision": re.findall(r'name="revision" value="([0-9]+)"', refused.text)[0]}
    assert post(auth, client, f"/{path}/deletions", **form).status_code == 303
    assert client.get(f"/{path}").status_code == 404
