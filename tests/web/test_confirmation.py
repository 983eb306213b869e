"""Questions before actions: by form, by our own script and by token; and the buttons that keys press."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from workers.domain.actors import Actor
from workers.services import channels, execution, jobs, queues, schedules, tokens, triggers
from workers.services.enqueueing import NewJob
from workers.store import tokens as token_rows
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
FETCH = {"X-Requested-With": "fetch", "Accept": "application/json"}
NOOP = {"task": "samples.noop", "payload": {}}


def post(
    auth: Any, client: FlaskClient, path: str, headers: dict[str, str] | None = None, **fields: Any
) -> TestResponse:
    return client.post(path, data={"csrf_token": auth.csrf(client), **fields}, headers=headers or {})


def running_job(yard: Yard) -> str:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", queue="emails")).job_id
    execution.begin(yard, job_id, 1, "a-worker")
    return job_id


def token_id(yard: Yard) -> str:
    tokens.create(yard, "deploy", "operator", None, ADA)
    with yard.database.read() as connection:
        return str(token_rows.all_tokens(connection)[0]["id"])


Ask = tuple[str, dict[str, Any], str]


def cancel_running(yard: Yard) -> Ask:
    return f"/jobs/{running_job(yard)}/cancellations", {}, "Cancel job"


def cancel_selected(yard: Yard) -> Ask:
    return "/jobs/selection", {"action": "cancel", "id": [running_job(yard), running_job(yard)]}, "Cancel 2 jobs"


def delete_selected(yard: Yard) -> Ask:
    job_id = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    return "/jobs/selection", {"action": "delete", "id": [job_id, job_id]}, "Delete 1 job"


def revoke_token(yard: Yard) -> Ask:
    return f"/settings/tokens/{token_id(yard)}/revocations", {}, "Revoke token"


def renew_secret(_yard: Yard) -> Ask:
    return "/settings/webhook-secret", {}, "Create secret"


def change_user(change: str, verb: str) -> Callable[[Yard], Ask]:
    return lambda _yard: ("/settings/users/vera", {"change": change}, verb)


def delete_channel(yard: Yard) -> Ask:
    made = channels.create(yard, "ops", "slack://TokenA/TokenB/TokenC/#ops", ADA, "")
    return f"/alert-channels/{made.id}/deletions", {}, "Delete channel"


ASKED = {
    "cancel a running job": cancel_running,
    "cancel selected jobs": cancel_selected,
    "delete selected jobs": delete_selected,
    "revoke a token": revoke_token,
    "renew the callback secret": renew_secret,
    "make an admin": change_user("admin", "Change role"),
    "make an operator": change_user("operator", "Change role"),
    "delete a user": change_user("delete", "Delete user"),
    "sign a user out": change_user("sign_out", "Sign out"),
    "replace a password": change_user("password", "Create password"),
    "delete a channel": delete_channel,
    "sign out everywhere else": lambda _yard: ("/settings/sessions/ends", {}, "Sign out everywhere else"),
}


def audit_count(yard: Yard) -> int:
    with yard.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM audit").scalar_one())


@pytest.mark.parametrize("action", ASKED)
def test_an_action_is_done_after_the_question_and_not_before(auth: Any, light_yard: Yard, action: str) -> None:
    path, fields, verb = ASKED[action](light_yard)
    client = auth.client("ada")
    before = audit_count(light_yard)

    asked = post(auth, client, path, FETCH, **fields)
    assert (asked.status_code, asked.json["verb"], asked.json["is_danger"]) == (428, verb, True)
    page = post(auth, client, path, **fields)
    assert page.status_code == 428
    assert verb in page.text
    assert audit_count(light_yard) == before

    # The form of that page, as a browser without scripts sends it.
    form = page.text.split('<form method="post" action="' + path, 1)[1].split("</form>", 1)[0]
    shown = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    sent: dict[str, list[str]] = {}
    for name, value in shown:
        sent.setdefault(name, []).append(value)
    assert client.post(path, data=sent).status_code in {200, 303}
    assert audit_count(light_yard) > before


def test_the_question_escapes_what_people_typed(auth: Any, light_yard: Yard) -> None:
    name = "<img src=x onerror=alert(1)>"
    tokens.create(light_yard, name, "viewer", None, ADA)
    with light_yard.database.read() as connection:
        made = token_rows.all_tokens(connection)[0]["id"]
    client = auth.client("ada")
    assert "<img src=x" not in post(auth, client, f"/settings/tokens/{made}/revocations").text


def test_a_token_is_not_asked(auth: Any, light_yard: Yard, app: Any) -> None:
    path = f"/jobs/{running_job(light_yard)}/cancellations"
    assert app.test_client().post(path, headers=auth.token("operator")).status_code == 303


def test_every_button_with_a_key_asks_when_the_key_is_pressed(auth: Any, light_yard: Yard) -> None:
    waiting = jobs.enqueue(light_yard, NewJob("samples.noop", delay_seconds=3600)).job_id
    canceled = jobs.enqueue(light_yard, NewJob("samples.noop", delay_seconds=3600)).job_id
    jobs.cancel(light_yard, canceled, ADA)
    completed = running_job(light_yard)
    execution.end(light_yard, completed, 1, execution.Ending("completed"))
    schedule = schedules.create(light_yard, {"name": "Nightly", "cron": "0 6 * * *", **NOOP}, ADA)["id"]
    client = auth.client("ada")
    paths = [f"/jobs/{one}" for one in (waiting, canceled, completed)] + [f"/schedules/{schedule}", "/schedules"]
    pressed = []
    for path in paths:
        for form in re.findall(
            r'<form method="post" action="([^"]+)"[^>]*>(?:(?!</form>).)*data-key=', client.get(path).text, re.S
        ):
            pressed.append(form)
            assert post(auth, client, form, FETCH, confirm="ask").status_code == 428, form
    assert len(pressed) >= 5


def test_undo_is_offered_and_works_without_javascript(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop", queue="emails"))
    client = auth.client("olga")
    post(auth, client, "/queues/emails/pauses")
    page = client.get("/queues").text
    address = re.search(r'action="(/audit/\d+/undo)"', page)
    assert address is not None
    assert post(auth, client, address[1]).status_code == 303
    with light_yard.database.read() as connection:
        assert queues.get(connection, "emails")["paused_at"] is None
    assert "is resumed" in client.get("/queues").text
    again = post(auth, client, address[1], FETCH)
    assert (again.status_code, again.json["title"]) == (409, "Not allowed in the current status")


def test_the_audit_offers_undo_only_for_what_can_be_taken_back(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop", queue="emails"))
    trigger = triggers.create(light_yard, {"name": "On orders", "listens": "a.b", **NOOP}, ADA)["id"]
    triggers.change(light_yard, trigger, {"enabled": False}, ADA)
    triggers.change(light_yard, trigger, {"name": "Renamed"}, ADA)
    queues.pause(light_yard, "emails", ADA)
    client = auth.client("ada")
    page = client.get("/audit").text
    assert page.count("/undo") == 1
    address = re.search(r'action="(/audit/\d+/undo)"', page)
    assert address is not None
    post(auth, client, address[1])
    with light_yard.database.read() as connection:
        assert queues.get(connection, "emails")["paused_at"] is None
