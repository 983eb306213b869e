"""Edits by people who see masks: a mask left alone keeps the stored value, any other mask is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.domain.actors import Actor
from workers.domain.errors import BadInput
from workers.domain.masked_edits import mask_change, refuse_masks, restore
from workers.domain.masking import MASK, mask
from workers.services import jobs, schedules, triggers
from workers.services.enqueueing import NewJob
from workers.yard import Yard

OLGA = Actor("user", "olga", "operator")
KEY, OTHER = "Kx9-hunter2-Qz", "Wv8-hunter3-Pa"
PAYLOAD = {"url": "https://example.com/x", "headers": {"X-Api-Key": KEY, "Accept": "text/plain"}, "body": {"n": 1}}
STORED = {
    "dsn": f"postgres://user:{KEY}@host/db",
    "users": [{"name": "a", "token": KEY}, {"name": "b", "token": OTHER}],
    "tokens": [KEY, OTHER],
    "pair": [{"name": "Authorization", "value": KEY}],
    "text": json.dumps({"password": KEY}),
}
VALUES = st.recursive(
    st.integers() | st.sampled_from([KEY, OTHER, "plain", STORED["dsn"]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["token", "a", "b", "pw"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["token", "a", "users"]), VALUES, max_size=3))
@settings(max_examples=300, deadline=None)
def test_what_is_sent_back_as_it_was_shown_changes_nothing(stored: dict[str, Any]) -> None:
    assert restore(mask(stored), stored, (), ()) == stored


def edited(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(mask(STORED)), **changes}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (edited(url="new"), {**STORED, "url": "new"}),
        ({"dsn": mask(STORED)["dsn"]}, {"dsn": STORED["dsn"]}),
        (edited(users=list(reversed(mask(STORED)["users"]))), {**STORED, "users": list(reversed(STORED["users"]))}),
        (edited(users=mask(STORED)["users"][1:]), {**STORED, "users": STORED["users"][1:]}),
        (
            edited(users=[{"name": "c", "token": "new"}, *mask(STORED)["users"]]),
            {**STORED, "users": [{"name": "c", "token": "new"}, *STORED["users"]]},
        ),
        (
            edited(users=[{"name": "a", "token": MASK, "n": 1}, mask(STORED)["users"][1]]),
            {**STORED, "users": [{"name": "a", "token": KEY, "n": 1}, STORED["users"][1]]},
        ),
        (edited(tokens="new"), {**STORED, "tokens": "new"}),
    ],
)
def test_masks_find_their_values(given: Any, expected: Any) -> None:
    assert restore(given, STORED, (), ()) == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"new": MASK}, "payload.new"),
        ({"headers": {"X-Api-Key": MASK}}, "payload.headers.X-Api-Key"),
        (edited(dsn=f"postgres://user:{MASK}@elsewhere/db"), "payload.dsn"),
        (edited(users=[{"name": "b", "token": MASK, "n": 1}, {"name": "a", "token": MASK, "n": 2}]), "payload.users.0"),
        (edited(users=[{"name": "c", "token": MASK}]), "payload.users.0"),
        (edited(pair=[{"name": "Accept", "value": MASK}]), "payload.pair.0.value"),
        (edited(text=json.dumps({"password": MASK, "n": 1})), "payload.text"),
        ({"tokens": {"0": MASK}}, "payload.tokens.0"),
    ],
)
def test_a_mask_that_stands_for_nothing_or_for_several_values_is_refused(given: Any, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        restore(given, STORED, (), ())
    assert caught.value.errors[0]["field"] == field


def test_items_that_look_alike_are_told_apart_by_place_only_while_the_list_keeps_its_length() -> None:
    stored = [{"token": KEY}, {"token": OTHER}]
    assert restore([{"token": MASK}, {"token": MASK}], stored, (), ()) == stored
    with pytest.raises(BadInput):
        restore([{"token": MASK}], stored, (), ())


@pytest.mark.parametrize(
    "value", [{"token": MASK}, {"a": [MASK]}, {"url": f"https://u:{MASK}@h/x"}, {"t": f"password={MASK}"}]
)
def test_a_new_value_with_a_mask_is_refused(value: Any) -> None:
    with pytest.raises(BadInput):
        refuse_masks(value)


def test_dots_in_prose_are_prose() -> None:
    refuse_masks({"message": f"he thought {MASK} and left"})


def test_a_change_of_a_secret_is_told_without_it() -> None:
    before, after = mask_change({"payload": {"token": KEY, "n": 1}}, {"payload": {"token": OTHER, "n": 2}})
    assert before == {"payload": {"token": MASK, "n": 1}}
    assert after == {"payload": {"token": f"{MASK} (changed)", "n": 2}}


def failed_job(yard: Yard) -> str:
    job_id = jobs.enqueue(yard, NewJob("http.request", PAYLOAD, created_by="olga")).job_id
    jobs.cancel(yard, job_id, OLGA)
    return job_id


def payload_of(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return json.loads(jobs.get(connection, job_id)["payload"])


def test_a_retry_with_the_payload_that_was_read_keeps_the_stored_secret(app: Any, auth: Any, light_yard: Yard) -> None:
    job_id, client, headers = failed_job(light_yard), app.test_client(), auth.token("operator")
    shown = client.get(f"/api/v1/jobs/{job_id}", headers=headers).json["payload"]
    assert KEY not in json.dumps(shown)
    shown["url"] = "https://example.com/y"
    assert client.post(f"/api/v1/jobs/{job_id}/retries", json={"payload": shown}, headers=headers).status_code == 202
    assert payload_of(light_yard, job_id) == {**PAYLOAD, "url": "https://example.com/y"}


def test_the_edit_form_shows_masks_and_keeps_what_they_stand_for(auth: Any, app: Any, light_yard: Yard) -> None:
    job_id, client = failed_job(light_yard), auth.client("olga")
    page = client.get(f"/jobs/{job_id}/edit").text
    assert KEY not in page
    form = {"payload": json.dumps(mask(PAYLOAD)), "csrf_token": auth.csrf(client)}
    assert client.post(f"/jobs/{job_id}/edit", data=form).status_code == 303
    assert payload_of(light_yard, job_id) == PAYLOAD


def test_a_mask_in_a_new_job_is_refused_with_its_field(app: Any, auth: Any) -> None:
    body = {"task": "http.request", "payload": mask(PAYLOAD)}
    answer = app.test_client().post("/api/v1/jobs", json=body, headers=auth.token("operator"))
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "payload.headers.X-Api-Key")


def test_an_error_about_a_restored_payload_does_not_tell_it(app: Any, auth: Any, light_yard: Yard) -> None:
    job_id, client, headers = failed_job(light_yard), app.test_client(), auth.token("operator")
    payload = {**mask(PAYLOAD), "method": "NONE", "zz": 1}
    answer = client.post(f"/api/v1/jobs/{job_id}/retries", json={"payload": payload}, headers=headers)
    assert answer.status_code == 422
    assert KEY not in answer.text


def test_running_again_carries_the_stored_secret(light_yard: Yard) -> None:
    job_id = failed_job(light_yard)
    again = jobs.run_again(light_yard, job_id, OLGA, {**mask(PAYLOAD), "method": "POST"})
    assert payload_of(light_yard, again.job_id) == {**PAYLOAD, "method": "POST"}


def schedule(yard: Yard) -> str:
    values = {"name": "calls", "task": "http.request", "payload": PAYLOAD, "cron": "0 6 * * *"}
    return str(schedules.create(yard, values, OLGA)["id"])


def stored_of_schedule(yard: Yard, schedule_id: str) -> Any:
    with yard.database.read() as connection:
        return json.loads(schedules.get(connection, schedule_id)["payload"])


def test_a_schedule_that_is_patched_with_what_was_read_is_unchanged(app: Any, auth: Any, light_yard: Yard) -> None:
    schedule_id, client, headers = schedule(light_yard), app.test_client(), auth.token("operator")
    shown = client.get(f"/api/v1/schedules/{schedule_id}", headers=headers).json
    change = {"payload": shown["payload"], "cron": shown["cron"], "name": "renamed"}
    answer = client.patch(f"/api/v1/schedules/{schedule_id}", json=change, headers=headers)
    assert (answer.status_code, KEY in answer.text) == (200, False)
    assert stored_of_schedule(light_yard, schedule_id) == PAYLOAD


@pytest.mark.parametrize("kind", ["schedules", "triggers"])
def test_a_secret_does_not_follow_to_another_task(app: Any, auth: Any, light_yard: Yard, kind: str) -> None:
    made = {"schedules": schedule, "triggers": trigger}[kind](light_yard)
    change = {"task": "samples.fail", "payload": {"message": MASK}}
    answer = app.test_client().patch(f"/api/v1/{kind}/{made}", json=change, headers=auth.token("operator"))
    assert answer.status_code == 422


def test_a_copy_of_a_schedule_carries_the_stored_secret(auth: Any, app: Any, light_yard: Yard) -> None:
    first, client = schedule(light_yard), auth.client("olga")
    page = client.get(f"/schedules/new?from={first}").text
    assert KEY not in page
    assert f'name="copy_of" value="{first}"' in page
    form = {
        "name": "copy",
        "task": "http.request",
        "kind": "cron",
        "cron": "0 7 * * *",
        "timezone": "UTC",
        "copy_of": first,
    }
    form |= {"payload": json.dumps(mask(PAYLOAD)), "csrf_token": auth.csrf(client), "enabled": "on"}
    answer = client.post("/schedules/new", data=form)
    assert answer.status_code == 303
    assert stored_of_schedule(light_yard, answer.headers["Location"].rpartition("/")[2]) == PAYLOAD


def trigger(yard: Yard) -> str:
    values = {"name": "calls", "listens": "orders.*", "task": "http.request", "payload": PAYLOAD}
    return str(triggers.create(yard, {**values, "conditions": {"payload.token": KEY}}, OLGA)["id"])


def test_a_trigger_that_is_patched_with_what_was_read_is_unchanged(app: Any, auth: Any, light_yard: Yard) -> None:
    trigger_id, client, headers = trigger(light_yard), app.test_client(), auth.token("operator")
    shown = client.get(f"/api/v1/triggers/{trigger_id}", headers=headers).json
    assert KEY not in json.dumps(shown)
    change = {"payload": shown["payload"], "conditions": shown["conditions"], "cap_per_hour": 7}
    assert client.patch(f"/api/v1/triggers/{trigger_id}", json=change, headers=headers).status_code == 200
    with light_yard.database.read() as connection:
        row = triggers.get(connection, trigger_id)
    assert (json.loads(row["payload"]), json.loads(row["conditions"])) == (PAYLOAD, {"payload.token": KEY})


@pytest.mark.parametrize("kind", ["schedules", "triggers"])
def test_the_audit_tells_that_a_secret_changed_and_keeps_none(app: Any, auth: Any, light_yard: Yard, kind: str) -> None:
    from sqlalchemy import text

    made = {"schedules": schedule, "triggers": trigger}[kind](light_yard)
    change = {"payload": {**PAYLOAD, "headers": {"X-Api-Key": OTHER, "Accept": "text/plain"}}}
    client = app.test_client()
    assert client.patch(f"/api/v1/{kind}/{made}", json=change, headers=auth.token("operator")).status_code == 200
    with light_yard.database.read() as connection:
        rows = connection.execute(
            text("SELECT action, before, after FROM audit WHERE target_id = :id"), {"id": made}
        ).all()
    assert KEY not in repr(rows)
    assert OTHER not in repr(rows)
    changed = json.loads(rows[-1].after)
    assert changed["payload"]["headers"]["X-Api-Key"] == f"{MASK} (changed)"


def test_declared_secrets_are_typed_unseen(auth: Any, app: Any, light_yard: Yard) -> None:
    import dataclasses

    from workers import registry
    from workers.services import publishing

    definition = dataclasses.replace(registry.REGISTRY["samples.fail"], secret=("message",))
    publishing.publish(light_yard, {"samples.fail": definition})
    client = auth.client("olga")
    page = client.get("/tasks/samples.fail/run").text
    assert 'type="password" autocomplete="new-password" id="payload.message"' in page
    form = {"payload.message": KEY, "max_retries": "x", "csrf_token": auth.csrf(client)}
    answer = client.post("/tasks/samples.fail/run", data=form)
    assert (answer.status_code, KEY in answer.text) == (422, False)
