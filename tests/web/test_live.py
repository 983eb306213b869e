"""Live connections: who is let in, to which rooms, and that a job's word reaches them through the real Redis channel."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from dashboard.live import MAX_ROOMS, NAMESPACE, socketio
from tests.support import eventually
from workers.domain.actors import Actor
from workers.domain.ids import new_id
from workers.services import jobs, tokens, users
from workers.services.enqueueing import NewJob
from workers.store import tokens as token_rows
from workers.yard import Yard

ADA = Actor("system", "tests", "admin")


@pytest.fixture
def connect(app: Flask, auth: Any) -> Any:
    """Open a live connection, as a person, with a token, or as nobody; closed at the end."""
    opened = []

    def make(person: str | None = None, token: str | None = None) -> Any:
        client = socketio.test_client(
            app,
            namespace=NAMESPACE,
            flask_test_client=auth.client(person) if person else None,
            auth={"token": token} if token else None,
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        if client.is_connected(NAMESPACE):
            client.disconnect(NAMESPACE)


def watch(client: Any, *rooms: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.emit("watch", {"rooms": list(rooms)}, namespace=NAMESPACE, callback=True)
    return answer


def heard(client: Any, event: str) -> list[Any]:
    return [one["args"][0] for one in client.get_received(NAMESPACE) if one["name"] == event]


def test_nobody_is_let_in_without_signing_in(connect: Any) -> None:
    assert not connect().is_connected(NAMESPACE)
    assert not connect(token="ty_invented").is_connected(NAMESPACE)


def test_people_and_programs_are_let_in(connect: Any, auth: Any) -> None:
    assert connect("vera").is_connected(NAMESPACE)
    token = auth.token("viewer")["Authorization"].removeprefix("Bearer ")
    assert connect(token=token).is_connected(NAMESPACE)


def test_rooms_are_watched_and_left(connect: Any) -> None:
    client = connect("vera")
    job = f"job:{new_id()}"
    assert watch(client, "jobs", job) == {"ok": True, "rooms": sorted(["jobs", job])}
    answer = client.emit("unwatch", {"rooms": ["jobs"]}, namespace=NAMESPACE, callback=True)
    assert answer == {"ok": True, "rooms": [job]}


@pytest.mark.parametrize(
    "rooms",
    [["nobody"], ["job:1"], ["job:../../x"], [1], [None], ["jobs", "x" * 200], ["channel:" + "a" * 65], ["jobs\n"]],
)
def test_rooms_that_are_none_are_refused_all_together(connect: Any, rooms: list[Any]) -> None:
    client = connect("vera")
    assert watch(client, *rooms)["ok"] is False
    assert watch(client, "queues")["rooms"] == ["queues"]


def test_one_connection_cannot_watch_without_end(connect: Any) -> None:
    client = connect("vera")
    assert watch(client, *(f"channel:{n}" for n in range(MAX_ROOMS)))["ok"] is True
    assert watch(client, "jobs")["ok"] is False


@pytest.mark.parametrize("message", [None, 1, "jobs", [], {}, {"rooms": "jobs"}, {"rooms": {"jobs": 1}}])
def test_messages_of_the_wrong_form_are_refused(connect: Any, message: Any) -> None:
    answer = connect("vera").emit("watch", message, namespace=NAMESPACE, callback=True)
    assert answer["ok"] is False


def test_a_new_job_is_told_to_those_who_watch_and_to_nobody_else(connect: Any, light_yard: Yard) -> None:
    watching, other = connect("vera"), connect("olga")
    watch(watching, "jobs")
    watch(other, "workers")
    made: list[str] = []

    def told() -> None:
        # The relay may still be on its way to the channel when the first ones are told.
        made.append(jobs.enqueue(light_yard, NewJob("samples.noop")).job_id)
        ids = {one["id"] for batch in heard(watching, "changed") for one in batch}
        assert ids & set(made)

    eventually(told, within=10, every=0.2)
    assert heard(other, "changed") == []


def test_a_published_event_reaches_its_channel(connect: Any, light_yard: Yard) -> None:
    client = connect("vera")
    watch(client, "channel:prices")

    def told() -> None:
        light_yard.live.publish({"type": "published", "channel": "prices", "event": "moved", "data": {"to": 3}})
        assert [one["data"] for one in heard(client, "published")][:1] == [{"to": 3}]

    eventually(told, within=10, every=0.2)


@pytest.mark.parametrize("ended", ["token", "person"])
def test_a_connection_ends_when_its_right_ends(
    connect: Any, auth: Any, app: Flask, light_yard: Yard, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.live.RECHECK_SECONDS", 0.2)
    token = auth.token("viewer")["Authorization"].removeprefix("Bearer ")
    client = connect(token=token) if ended == "token" else connect("vera")
    assert client.is_connected(NAMESPACE)
    if ended == "token":
        with light_yard.database.read() as connection:
            tokens.revoke(light_yard, token_rows.all_tokens(connection)[0]["id"], ADA)
    else:
        users.change(light_yard, "vera", ADA, disabled=True)

    def gone() -> None:
        assert not client.is_connected(NAMESPACE)

    eventually(gone, within=10)


def test_connections_end_when_nobody_can_say_whether_they_may_go_on(
    connect: Any, app: Flask, light_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.live.RECHECK_SECONDS", 0.1)
    monkeypatch.setattr("dashboard.live.MAX_UNCHECKED_SECONDS", 1.0)
    client = connect("vera")
    assert client.is_connected(NAMESPACE)
    with light_yard.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE users RENAME TO users_away")

    def is_gone() -> None:
        assert not client.is_connected(NAMESPACE)

    eventually(is_gone, within=15)
