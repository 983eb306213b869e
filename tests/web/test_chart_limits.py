"""The charts of the Health page draw the limits of the rules, whatever they are set to."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from dashboard.presenters.limits import machine_limits, success_limits
from workers.domain.actors import Actor
from workers.services import monitoring, rules
from workers.store import alerts
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


@pytest.fixture
def measured(light_yard: Yard) -> Yard:
    """Measure something twice: the CPU is known from the second time on."""
    for _ in range(2):
        monitoring.sweep(light_yard)
        with light_yard.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE health_metrics SET minute = minute - 1, cpu_percent = 5, probe_ms = 50, oldest_wait_seconds = 7"
            )
    return light_yard


def drawn(auth: Any, query: str = "") -> dict[str, str]:
    """Return the limits that each chart is given, by its title."""
    page = auth.client("vera").get(f"/health?period=1h{query}").text
    hosts = re.findall(r'<div data-chart="\w+"([^>]*)>', page)
    titles = [re.search(r'aria-label="([^;"]*)', host) for host in hosts]
    limits = [re.search(r'data-limits="([^"]*)"', host) for host in hosts]
    return {title[1]: limit[1] for title, limit in zip(titles, limits, strict=True) if title and limit}


def test_limits_are_those_of_the_rules(auth: Any, measured: Yard) -> None:
    assert drawn(auth) == {"Oldest wait": "600", "CPU": "95", "Memory": "90", "Disk": "90", "Probe": "2000"}
    rules.change(measured, "rule-cpu", {"threshold": 71}, ADA)
    rules.create(measured, "cpu", {"threshold": 50, "severity": "info"}, ADA)
    rules.change(measured, "rule-memory", {"is_enabled": False}, ADA)
    rules.change(measured, "rule-probe", {"threshold": 350}, ADA)
    shown = drawn(auth)
    assert (shown["CPU"], shown["Probe"], "Memory" in shown) == ("50 71", "350", False)
    page = auth.client("vera").get("/health?period=1h").text
    assert "limits 50 %, 71 %" in page
    assert "limit 350 ms" in page


def test_the_limit_of_the_database_is_in_its_own_unit(app: Flask, light_yard: Yard) -> None:
    with light_yard.database.read() as connection:
        found = alerts.rules(connection)
    assert "database_bytes" not in machine_limits(found, light_yard.settings)
    assert machine_limits(found, replace(light_yard.settings, database_limit_mb=500))["database_bytes"] == [400]


def test_a_rule_about_one_queue_is_not_drawn_for_all(light_yard: Yard) -> None:
    rules.create(light_yard, "queue_age", {"scope": "emails", "threshold": 5}, ADA)
    with light_yard.database.read() as connection:
        found = alerts.rules(connection)
    assert machine_limits(found, light_yard.settings)["oldest_wait_seconds"] == [600]


def test_the_success_of_a_task_is_drawn_with_the_limit_of_its_failure_rate(light_yard: Yard) -> None:
    rules.create(light_yard, "failure_rate", {"scope": "reports.*", "threshold": 5}, ADA)
    with light_yard.database.read() as connection:
        found = alerts.rules(connection)
    assert success_limits(found, "reports.daily") == [50, 95]
    assert success_limits(found, "orders.sync") == [50]
    assert success_limits(found, "") == []


def test_values_are_written_for_people_and_a_line_of_zeros_is_drawn(auth: Any, measured: Yard) -> None:
    with measured.database.write() as connection:
        connection.exec_driver_sql("UPDATE health_metrics SET oldest_wait_seconds = 251, workers_busy = 0")
    page = auth.client("vera").get("/health?period=24h").text
    assert "251 s" not in page
    assert re.search(r'data-value="251">4 m(in)? 11 s</td>', page)
    busy = page.split('id="h-workers_busy"', 1)[1].split("</section>", 1)[0]
    assert 'data-chart="lines"' in busy
    assert 'data-value="0">0</td>' in busy


def test_the_present_value_is_the_newest_measurement_and_not_a_mean(auth: Any, measured: Yard) -> None:
    with measured.database.write() as connection:
        connection.exec_driver_sql("UPDATE health_metrics SET queue_length = 0")
        connection.exec_driver_sql(
            "UPDATE health_metrics SET queue_length = 9 WHERE minute = (SELECT max(minute) FROM health_metrics)"
        )
    page = auth.client("vera").get("/health?period=90d").text
    waiting = page.split('id="h-queue_length"', 1)[1].split("</section>", 1)[0]
    assert '<p class="nowline"><b>9</b>' in waiting
