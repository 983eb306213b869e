"""Modules that cannot be imported: named on Tasks and Health, in the API and by an alert."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from workers import registry
from workers.domain.clock import utcnow
from workers.domain.modules import ImportedModule
from workers.services import monitoring, publishing
from workers.store import alerts
from workers.yard import Yard

BROKEN = ImportedModule("billing.tasks", (), "KeyError: '<b>DSN</b>'", "/srv/billing/tasks.py", 14)


@pytest.fixture
def billing(light_yard: Yard) -> Yard:
    """Open a yard whose task module `billing.tasks` was there once and cannot be imported now."""

    def bill(order: int) -> None:
        """Bill an order."""

    bill.__module__ = "billing.tasks"
    definition = registry.define(bill)
    del registry.REGISTRY[definition.name]
    publishing.publish(light_yard, {definition.name: definition})
    publishing.publish(light_yard, {}, [BROKEN], drop_others=True)
    return light_yard


def test_tasks_and_health_name_the_module_with_error_and_line(app: Flask, auth: Any, billing: Yard) -> None:
    for path in ("/tasks", "/health"):
        page = auth.client("vera").get(path).text
        assert "1 task module cannot be imported." in page
        assert "KeyError: &#39;&lt;b&gt;DSN&lt;/b&gt;&#39;" in page
        assert "/srv/billing/tasks.py, line 14" in page


def test_an_unavailable_task_is_marked_and_cannot_be_run(app: Flask, auth: Any, billing: Yard) -> None:
    client = auth.client("olga")
    page = client.get("/tasks").text
    assert "Unavailable" in page
    assert "/tasks/billing.tasks.bill/run" not in page
    refused = client.post("/tasks/billing.tasks.bill/run", data={"payload.order": "1", "csrf_token": auth.csrf(client)})
    assert refused.status_code == 422
    assert "is unavailable" in refused.text


def test_the_api_says_why_a_task_is_unavailable(app: Flask, auth: Any, billing: Yard) -> None:
    header, client = auth.token("operator"), app.test_client()
    told = {one["name"]: one for one in client.get("/api/v1/tasks", headers=header).json["tasks"]}
    assert "cannot be imported" in told["billing.tasks.bill"]["unavailable"]
    assert told["samples.noop"]["unavailable"] is None
    body = {"task": "billing.tasks.bill", "payload": {"order": 1}}
    refused = client.post("/api/v1/jobs", json=body, headers=header)
    assert refused.status_code == 422
    assert "is unavailable" in refused.json["detail"]


def test_an_alert_names_the_module_and_resolves_when_it_is_imported(billing: Yard) -> None:
    monitoring.sweep(billing, utcnow())
    with billing.database.read() as connection:
        (found,) = [row for row in alerts.open_alerts(connection) if row["kind"] == "task_module"]
    assert found["title"] == "The task module billing.tasks cannot be imported"
    assert "line 14" in found["detail"]
    publishing.publish(billing, {}, [ImportedModule("billing.tasks", ("billing.tasks.bill",))], drop_others=True)
    for minutes in (1, 5):  # the cause has to be gone for two intervals
        monitoring.sweep(billing, utcnow() + timedelta(minutes=minutes))
    with billing.database.read() as connection:
        assert [row for row in alerts.open_alerts(connection) if row["kind"] == "task_module"] == []
