"""Typed forms on the pages that have a payload: every error at once, both views, steps, and nothing that breaks the page."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from sqlalchemy import text

from tests.form_definitions import DEFINITIONS
from workers.domain.masking import MASK
from workers.services import execution, jobs, publishing, schedules, triggers
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard

ADDRESS = {"street": "Ring 1", "zip": 10115}
PAYLOAD = {"address": ADDRESS, "lines": [{"sku": "a"}], "access": "hunter2"}


@pytest.fixture(autouse=True)
def tasks(light_yard: Yard) -> None:
    """Publish the tasks with payloads of every kind."""
    publishing.publish(light_yard, DEFINITIONS)


def post(auth: Any, path: str, **data: str) -> Any:
    client = auth.client("olga")
    return client.post(path, data={"csrf_token": auth.csrf(client), **data})


def stored(yard: Yard, table: str) -> list[Any]:
    with yard.database.read() as connection:
        return [json.loads(value) for value in connection.execute(text(f"SELECT payload FROM {table}")).scalars()]


def failed(yard: Yard) -> str:
    job_id = jobs.enqueue(yard, NewJob("forms.ship", PAYLOAD, max_retries=0)).job_id
    execution.begin(yard, job_id, 1, "w")
    execution.end(yard, job_id, 1, Ending("failed", error="x"))
    return job_id


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return html.unescape(found[1])


SCHEDULE = {
    "kind": "interval",
    "every": "often",
    "jitter_seconds": "x",
    "name": "",
    "task": "forms.ship",
    "timezone": "No/Where",
}
WRONG_SCHEDULE = SCHEDULE | {"payload.weight": "heavy", "max_retries": "many", "timeout_seconds": "long"}
TRIGGER = {"kind": "event", "listens": "", "name": "", "task": "forms.ship", "conditions": "{", "cap_per_hour": "many"}


@pytest.mark.parametrize(
    ("path", "data", "names"),
    [
        (
            "/tasks/forms.ship/run",
            {"payload.weight": "heavy", "payload.lines.0.quantity": "two", "delay_seconds": "soon", "max_retries": "-"},
            "payload.weight payload.lines.0.quantity payload.lines.0.sku payload.address.zip delay_seconds max_retries",
        ),
        (
            "/schedules/new",
            WRONG_SCHEDULE,
            "every jitter_seconds name timezone payload.weight payload.address.street",
        ),
        (
            "/triggers/new",
            {**TRIGGER, "cooldown_seconds": "x", "payload.weight": "heavy"},
            "listens name conditions cap_per_hour cooldown_seconds payload.weight",
        ),
    ],
    ids=["run", "schedule", "trigger"],
)
def test_every_error_of_a_form_is_shown_at_its_field_and_nothing_is_stored(
    auth: Any, light_yard: Yard, path: str, data: dict[str, str], names: str
) -> None:
    answer = post(auth, path, **data)
    assert answer.status_code == 422
    for name in names.split():
        assert f'id="{name}-e"' in answer.text, name
        assert f'href="#{name}"' in answer.text, name
    for typed in ("heavy", *[value for value in data.values() if value]):
        assert typed in html.unescape(answer.text)
    assert [stored(light_yard, table) for table in ("jobs", "schedules", "triggers")] == [[], [], []]


def test_an_edit_by_fields_keeps_what_was_left_alone_secrets_among_it(auth: Any, light_yard: Yard) -> None:
    job_id = failed(light_yard)
    client = auth.client("olga")
    page = client.get(f"/jobs/{job_id}/edit").text
    assert "hunter2" not in page
    base = hidden(page, "payload_base")
    data = {"csrf_token": auth.csrf(client), "payload_task": "forms.ship", "payload_base": base, "payload.access": MASK}
    data |= {"payload.weight": "2.5", "payload.lines.0.sku": "a", "payload.address.zip": "10115"}
    compared = client.post(f"/jobs/{job_id}/edit", data={**data, "step": "show"}).text
    assert "<ins>2.5</ins>" in compared
    assert stored(light_yard, "jobs") == [PAYLOAD]
    assert client.post(f"/jobs/{job_id}/edit", data=data).status_code == 303
    assert stored(light_yard, "jobs") == [{**PAYLOAD, "weight": 2.5}]


@pytest.mark.parametrize("noun", ["schedules", "triggers"])
def test_a_saved_form_changes_nothing_that_was_left_alone(auth: Any, light_yard: Yard, noun: str) -> None:
    values: dict[str, Any] = {"name": "n", "task": "forms.ship", "payload": PAYLOAD}
    from workers.domain.actors import Actor

    ada = Actor("user", "ada", "admin")
    row = (
        schedules.create(light_yard, {**values, "interval_seconds": 60}, ada)
        if noun == "schedules"
        else triggers.create(light_yard, {**values, "listens": "a.b"}, ada)
    )
    client = auth.client("olga")
    page = client.get(f"/{noun}/{row['id']}/edit").text
    assert "hunter2" not in page
    data = {"csrf_token": auth.csrf(client), "payload_task": "forms.ship", "payload_base": hidden(page, "payload_base")}
    data |= {
        "name": "m",
        "task": "forms.ship",
        "timezone": "UTC",
        "kind": "interval",
        "every": "60",
        "every_unit": "seconds",
    }
    data |= (
        {"kind": "event", "listens": "a.b", "cooldown_seconds": "0", "cap_per_hour": "60"} if noun == "triggers" else {}
    )
    assert client.post(f"/{noun}/{row['id']}/edit", data=data).status_code == 303
    assert stored(light_yard, noun) == [PAYLOAD]


def test_secrets_that_were_typed_do_not_come_back_with_an_error(auth: Any) -> None:
    answer = post(auth, "/tasks/forms.ship/run", **{"payload.access": "hunter2", "payload.weight": "heavy"})
    assert "hunter2" not in answer.text
    assert "Type this value again" in answer.text


def test_a_task_that_is_changed_carries_over_what_fits_and_gives_back_the_rest(auth: Any) -> None:
    data = {"task": "samples.sleep", "payload_task": "forms.ship", "payload.note": "kept", "step": "show"}
    other = post(auth, "/schedules/new", **data)
    assert other.status_code == 200
    assert 'id="payload.seconds"' in other.text
    left = hidden(other.text, "payload_left")
    back = post(
        auth, "/schedules/new", **{**data, "task": "forms.ship", "payload_task": "samples.sleep", "payload_left": left}
    )
    assert "kept</textarea>" in back.text


def test_last_values_are_those_of_the_users_own_job_without_its_secrets(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    assert "values=last" not in client.get("/tasks/forms.ship/run").text
    answer = post(auth, "/tasks/forms.ship/run", payload=json.dumps(PAYLOAD))
    assert answer.status_code == 303
    jobs.enqueue(
        light_yard, NewJob("forms.ship", {**PAYLOAD, "note": "from the nightly schedule"}, created_by="schedule:x")
    )
    assert "values=last" in client.get("/tasks/forms.ship/run").text
    page = client.get("/tasks/forms.ship/run?values=last").text
    assert 'value="Ring 1"' in page
    assert "from the nightly schedule" not in page
    assert "hunter2" not in page


BY_HAND: list[dict[str, str]] = [
    {"payload": "{"},
    {"payload": "[]"},
    {"payload": '{"odd": 1}', "step": "fields"},
    {"payload_base": "{", "step": "json"},
    {"payload_base": '{"lines": 5, "address": []}', "step": "show"},
    {"payload_zone": "No/Where", "payload.ship_at": "soon"},
    {"payload_left": "[1]", "step": "show"},
    {"payload.lines.999.sku": "x"},
    {"payload.lines.9999999999.sku": "x", "payload.lines.-1.sku": "y"},
    {"step": "add:payload.lines.0.tags.0.x"},
    {"step": "remove:payload"},
    {"step": "nonsense"},
    {"payload_task": "no.such.task", "payload.weight": "1"},
    {"payload": '{"lines": [null]}', "step": "fields"},
]


@pytest.mark.parametrize("path", ["/tasks/forms.ship/run", "/schedules/new", "/triggers/new"])
def test_a_form_made_by_hand_is_answered_and_never_breaks(auth: Any, path: str) -> None:
    client = auth.client("olga")
    token = auth.csrf(client)
    for data in BY_HAND:
        answer = client.post(path, data={"csrf_token": token, "task": "forms.ship", **data})
        assert answer.status_code in {200, 422}, data


def test_names_with_markup_are_inert(auth: Any) -> None:
    page = auth.client("olga").get("/tasks/forms.hostile/run").text
    assert "<script>alert" not in page
    assert "<b>a.b</b>" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("/settings/tokens", {"name": "robot", "days": "soon"}, "must be a whole number"),
        ("/settings/users", {"name": "a b", "role": "admin"}, "A name has 1 to 64"),
        ("/settings/password", {"present": "wrong", "password": "hunter2hunter2"}, "current password is wrong"),
    ],
)
def test_settings_show_the_error_in_the_form_that_was_sent(
    auth: Any, path: str, data: dict[str, str], words: str
) -> None:
    client = auth.client("ada")
    answer = client.post(path, data={"csrf_token": auth.csrf(client), **data})
    assert answer.status_code == 422
    assert words in answer.text
    assert "<h1>Settings</h1>" in answer.text
    assert data.get("name", "") in answer.text
    assert "hunter2" not in answer.text
    told = client.post(path, data={"csrf_token": auth.csrf(client), **data}, headers={"Accept": "application/json"})
    assert words in told.json["detail"]
