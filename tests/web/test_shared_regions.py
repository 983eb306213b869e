"""Regions: read alone, several at once, drawn once for all who may see the same, never older than the request."""

from __future__ import annotations

import re
from typing import Any

import gevent
import pytest
from flask import Flask
from sqlalchemy import event

from dashboard.shared_regions import SharedRegions
from tests.conftest import Auth
from workers.services import queues
from workers.services.enqueueing import NewJob
from workers.services.jobs import enqueue
from workers.yard import Yard


def get(client: Any, path: str, regions: str, **headers: str) -> str:
    answer = client.get(path, headers={"X-Region": regions, **headers})
    assert answer.status_code == 200, answer.text
    text: str = answer.text
    return text


def parts(text: str) -> dict[str, str]:
    return dict(re.findall(r'<template data-part-of="(\w+)">(.*?)</template>\n', text, re.S))


def shared(app: Flask) -> SharedRegions:
    found: SharedRegions = app.extensions["shared_regions"]
    return found


def test_several_regions_are_one_answer_of_the_same_partials(auth: Auth) -> None:
    client = auth.client("vera")
    both = parts(get(client, "/", "running,health"))
    assert set(both) == {"health", "running"}
    assert both["health"] == get(client, "/", "health")
    for wrong in ("nothing", "health,nothing", "", ",", "health" * 30):
        assert client.get("/", headers={"X-Region": wrong}).status_code == 404


def test_a_region_costs_only_what_it_shows(auth: Auth, light_yard: Yard) -> None:
    client = auth.client("vera")
    statements: list[str] = []
    engine = light_yard.database.engine
    event.listen(engine, "before_cursor_execute", lambda *found: statements.append(found[2]))
    client.get("/")
    whole = len(statements)
    statements.clear()
    get(client, "/", "day")
    assert len(statements) < whole / 2
    assert not any("job_minutes" in statement for statement in statements)


def test_viewers_of_one_role_share_and_others_do_not(auth: Auth, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.shared_regions.SHARED_SECONDS", 600.0)
    drawn = shared(app).drawn
    for name in ("vera", "vera", "vera"):
        get(auth.client(name), "/queues", "queues")
    assert shared(app).drawn == drawn + 1
    assert "/pauses" not in get(auth.client("vera"), "/queues", "queues")
    for_operator = get(auth.client("olga"), "/queues", "queues")
    assert shared(app).drawn == drawn + 2
    # Forms that are shared hold nobody's token; the script puts in the page's own.
    assert "csrf_token" not in for_operator or 'name="csrf_token" value=""' in for_operator
    assert re.findall('name="csrf_token" value="[^"]+"', for_operator) == []
    berlin = auth.client("vera")
    berlin.set_cookie("zone", "Europe/Berlin")
    get(berlin, "/queues", "queues")
    assert shared(app).drawn == drawn + 3
    assert auth.client(None).get("/queues", headers={"X-Region": "queues"}).status_code == 401


def test_what_somebody_has_done_is_in_the_next_answer(auth: Auth, light_yard: Yard, operator: Any) -> None:
    enqueue(light_yard, NewJob("samples.noop", queue="emails"))
    client = auth.client("olga")
    assert "Paused" not in get(client, "/queues", "queues")
    token = auth.csrf(client)
    client.post("/queues/emails/pauses", data={"csrf_token": token})
    assert "Paused" in get(client, "/queues", "queues")  # in this process the write is known
    queues.resume(light_yard, "emails", operator)  # as another process does
    assert "Paused" not in get(client, "/queues", "queues", **{"X-Fresh": "1"})


def test_an_answer_is_as_new_as_the_request_and_drawn_once_for_a_crowd() -> None:
    regions = SharedRegions()
    drawn: list[int] = []

    def draw() -> bytes:
        drawn.append(regions.generation)
        gevent.sleep(0.01)
        return str(drawn[-1]).encode()

    def ask() -> tuple[int, bytes]:
        wanted = regions.generation
        return wanted, regions.get("key", draw).content

    crowd = []
    for _ in range(100):
        regions.note_change()
        crowd.append(gevent.spawn(ask))
        gevent.sleep(0)
    gevent.joinall(crowd, raise_error=True)
    for one in crowd:
        wanted, content = one.value
        assert int(content) >= wanted
    assert len(drawn) <= 3


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    regions = SharedRegions()
    calls: list[None] = []

    def fail() -> bytes:
        calls.append(None)
        gevent.sleep(0.01)
        raise LookupError("away")

    def ask() -> str:
        with pytest.raises(LookupError):
            regions.get("key", fail)
        return "raised"

    crowd = [gevent.spawn(ask) for _ in range(20)]
    gevent.joinall(crowd, raise_error=True)
    assert len(calls) <= 2
    assert regions.get("key", lambda: b"back").content == b"back"
