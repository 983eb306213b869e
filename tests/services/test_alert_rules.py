"""What alert rules accept: a rule that can never raise an alert is refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from workers.domain.actors import Actor
from workers.domain.alarms import KINDS
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.services import conditions, monitoring, rules, watchman
from workers.services.facts import gather
from workers.services.statistics import minute_of
from workers.store import alerts
from workers.yard import Yard


@pytest.fixture
def admin() -> Actor:
    return Actor("user", "ada", "admin")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channels", 5),
        ("channels", "abc"),
        ("channels", None),
        ("channels", [5]),
        ("channels", [None]),
        ("channels", {"a": 1}),
        ("channels", ["x"] * 101),
        ("threshold", "5"),
        ("threshold", None),
        ("window_seconds", []),
        ("cooldown_seconds", True),
        ("severity", ["critical"]),
        ("name", 5),
        ("scope", 5),
        ("is_enabled", "yes"),
    ],
    ids=lambda one: str(one)[:12],
)
def test_a_value_of_another_type_is_bad_input_and_changes_nothing(
    yard: Yard, admin: Actor, name: str, value: Any
) -> None:
    with pytest.raises(BadInput) as refused:
        rules.create(yard, "failed", {name: value}, admin)
    assert refused.value.field == name
    with pytest.raises(BadInput):
        rules.change(yard, "rule-failed", {name: value}, admin)


@pytest.mark.parametrize("kind", [None, 5, [], "nothing"], ids=str)
def test_an_unknown_kind_is_bad_input(yard: Yard, admin: Actor, kind: Any) -> None:
    with pytest.raises(BadInput) as refused:
        rules.create(yard, kind, {}, admin)
    assert refused.value.field == "kind"


@pytest.mark.parametrize(
    ("kind", "values", "field", "reason"),
    [
        ("cpu", {"threshold": 100}, "threshold", "never above 100 %"),
        ("cpu", {"threshold": 101}, "threshold", "never above 100 %"),
        ("memory", {"threshold": 100.5}, "threshold", "never above 100 %"),
        ("disk", {"threshold": 1e6}, "threshold", "never above 100 %"),
        ("failure_rate", {"threshold": 100}, "threshold", "never above 100 %"),
        ("stalled", {"threshold": 7 * 86400}, "threshold", "no job runs for longer"),
        ("queue_age", {"threshold": 366 * 86400}, "threshold", "a year"),
        ("monitor_silent", {"threshold": 0}, "threshold", "At least 1 sweep"),
        ("monitor_silent", {"threshold": 1e10}, "threshold", "nothing is counted above"),
        ("queue_depth", {"threshold": 1e12}, "threshold", "nothing is counted above"),
        ("schedule_missed", {"threshold": 1e10}, "threshold", "nothing is counted above"),
        ("long_running", {"threshold": 1e9}, "threshold", "no job runs for longer"),
        ("cpu", {"window_seconds": 86401}, "window_seconds", "at most"),
        ("no_worker", {"window_seconds": 7 * 86400}, "window_seconds", "at most"),
        ("failed", {"window_seconds": 0}, "window_seconds", "between two sweeps"),
        ("failed", {"window_seconds": 59}, "window_seconds", "between two sweeps"),
        ("failure_rate", {"window_seconds": 30}, "window_seconds", "between two sweeps"),
        ("schedule_missed", {"window_seconds": 10}, "window_seconds", "between two sweeps"),
        ("queue_depth", {"window_seconds": 60}, "window_seconds", "has no window"),
        ("probe", {}, "is_enabled", "PROBE_URL is not set"),
        ("database", {}, "is_enabled", "DATABASE_LIMIT_MB is not set"),
        ("failed", {"scope": "emails"}, "scope", "whole installation"),
        ("cpu", {"scope": "x"}, "scope", "whole installation"),
        ("queue_age", {"scope": "two words"}, "scope", "no queue can have such a name"),
        ("long_running", {"scope": "a-task; drop"}, "scope", "no task can have such a name"),
        ("schedule_refused", {"threshold": 1e12}, "threshold", "with the value 1 schedule"),
        ("schedule_refused", {"threshold": 1}, "threshold", "with the value 1 schedule"),
        ("task_module", {"threshold": 1e12}, "threshold", "with the value 1 task module"),
        ("schedule_missed", {"window_seconds": 60, "threshold": 1e6}, "threshold", "at most once a second"),
        ("failed", {"window_seconds": 60, "threshold": 1e8}, "threshold", "do not end within 1 min"),
        ("queue_depth", {"scope": "[!a"}, "scope", "Close the bracket"),
        ("queue_age", {"scope": "[!a*"}, "scope", "Close the bracket"),
        ("no_worker", {"scope": "[z-a]*"}, "scope", "has a character that"),
        ("queue_depth", {"scope": "!*"}, "scope", "has a character that"),
        ("queue_depth", {"scope": "x" * 65}, "scope", "no queue can have such a name"),
        ("queue_depth", {"scope": "?" * 65}, "scope", "has at most 64 characters"),
        ("stalled", {"scope": "reports-*"}, "scope", "has a character that"),
        ("schedule_late", {"scope": "x" * 150}, "scope", "no schedule can have such a name"),
        ("schedule_late", {"scope": "x" * 101 + "*"}, "scope", "has at most 100 characters"),
        ("schedule_missed", {"scope": "[z-a]"}, "scope", "has a character that"),
        ("monitor_silent", {"threshold": 1e8}, "threshold", "longer than a year"),
        ("failed", {"repeat_seconds": 30}, "repeat_seconds", "at most every"),
        ("failed", {"repeat_seconds": -1}, "repeat_seconds", "must be a number"),
        ("failed", {"repeat_seconds": float("inf")}, "repeat_seconds", "must be a number"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_rule_that_could_never_raise_an_alert_is_refused_with_the_reason(
    yard: Yard, admin: Actor, kind: str, values: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason) as refused:
        rules.create(yard, kind, values, admin)
    assert refused.value.field == field
    if values:
        with yard.database.read() as connection:
            before = rules.get(connection, f"rule-{kind}")
        with pytest.raises(BadInput, match=reason):
            rules.change(yard, f"rule-{kind}", values, admin)
        with yard.database.read() as connection:
            assert rules.get(connection, f"rule-{kind}") == before


@pytest.mark.parametrize(
    ("settings", "kind", "values", "reason"),
    [
        ({"retention_days": 1}, "failed", {"window_seconds": 2 * 86400}, "kept for 1 d"),
        ({"monitor_interval_seconds": 7200.0}, "failed", {}, "every 2 h"),
        ({"monitor_interval_seconds": 600.0}, "schedule_missed", {"window_seconds": 300}, "every 10 min"),
        ({"monitor_interval_seconds": 600.0}, "queue_age", {"repeat_seconds": 300}, "every 10 min"),
        ({"probe_url": "http://127.0.0.1:1/"}, "probe", {"threshold": 10_000}, "times out after 10,000 ms"),
    ],
    ids=["kept history", "interval", "look-back", "repetition", "probe"],
)
def test_what_the_settings_make_impossible_is_refused(
    yard: Yard, admin: Actor, settings: dict[str, Any], kind: str, values: dict[str, Any], reason: str
) -> None:
    other = replace(yard, settings=replace(yard.settings, **settings))
    with pytest.raises(BadInput, match=reason):
        rules.create(other, kind, values, admin)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"probe", "database"}])
def test_the_values_that_a_kind_starts_with_can_be_kept(yard: Yard, admin: Actor, kind: str) -> None:
    made = rules.create(yard, kind, {}, admin)
    given = rules.as_json(made)
    names = (
        "name",
        "threshold",
        "window_seconds",
        "severity",
        "cooldown_seconds",
        "repeat_seconds",
        "scope",
        "channels",
    )
    assert rules.change(yard, made["id"], {name: given[name] for name in names}, admin)["kind"] == kind


@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        ("queue_depth", "emails"),
        ("queue_depth", "[!a]*"),
        ("queue_age", "[a-c]?-*.x"),
        ("queue_depth", "*" * 100),
        ("stalled", "reports.*"),
        ("failure_rate", "[!_]*"),
        ("schedule_late", "Nightly report [1]"),
        ("schedule_late", "Größe *"),
        ("schedule_late", "x" * 100),
    ],
)
def test_a_scope_that_a_name_can_match_is_accepted(light_yard: Yard, admin: Actor, kind: str, scope: str) -> None:
    assert rules.create(light_yard, kind, {"scope": scope}, admin)["scope"] == scope


def test_a_rule_that_is_disabled_can_be_renamed_whatever_is_measured(yard: Yard, admin: Actor) -> None:
    rules.change(yard, "rule-probe", {"is_enabled": False, "name": "Shop"}, admin)
    assert rules.change(yard, "rule-probe", {"name": "Shop probe"}, admin)["name"] == "Shop probe"
    with pytest.raises(BadInput, match="PROBE_URL"):
        rules.change(yard, "rule-probe", {"is_enabled": True}, admin)


def failures(yard: Yard, count: int, at: datetime) -> None:
    with yard.database.write() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO job_minutes (minute, queue, task, slot, completed, failed, retried, canceled, run_ms, wait_ms) "
            f"VALUES ({minute_of(at)}, 'default', 'samples.fail', 0, 0, {count}, 0, 0, 0, 0)"
        )


def open_kinds(yard: Yard) -> dict[str, str]:
    with yard.database.read() as connection:
        return {row["rule_id"]: row["title"] for row in alerts.open_alerts(connection)}


@pytest.mark.parametrize(
    ("window_seconds", "minutes_ago", "is_raised"),
    [(600, 5, True), (600, 9, True), (600, 12, False), (7200, 90, True), (7200, 119, True), (7200, 122, False),
     (86400, 23 * 60, True), (86400, 25 * 60, False)],
)  # fmt: skip
def test_failures_are_counted_within_the_window_of_the_rule(
    yard: Yard, admin: Actor, window_seconds: int, minutes_ago: int, is_raised: bool
) -> None:
    now = utcnow()
    mine = rules.create(yard, "failed", {"window_seconds": window_seconds, "threshold": 2}, admin)
    failures(yard, 3, now - timedelta(minutes=minutes_ago))
    assert monitoring.sweep(yard, now).error is None
    assert (mine["id"] in open_kinds(yard)) is is_raised


def test_the_title_names_the_window(yard: Yard, admin: Actor) -> None:
    now = utcnow()
    mine = rules.create(yard, "failed", {"window_seconds": 1800, "threshold": 0}, admin)
    hour = rules.create(yard, "failed", {"threshold": 0}, admin)
    failures(yard, 1, now)
    monitoring.sweep(yard, now)
    told = open_kinds(yard)
    assert told[mine["id"]] == "1 task failed in the last 30 min"
    assert told[hour["id"]] == "1 task failed in last hour"


def swept(yard: Yard, at: datetime, cpu: float) -> None:
    with yard.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO health_metrics (minute, queue_length, processing_count, failed_last_hour, oldest_wait_seconds, workers_busy, "
            f"workers_total, stuck_count, queues, cpu_percent) VALUES ({minute_of(at)}, 0, 0, 0, 0, 0, 0, 0, '{{}}', {cpu})"
        )


@pytest.mark.parametrize("interval_minutes", [1, 7, 60])
@pytest.mark.parametrize("window_minutes", [5, 60, 600])
@pytest.mark.parametrize("shape", ["held", "interrupted", "too short"])
def test_a_value_is_held_through_its_window_whatever_the_interval_of_the_monitor(
    light_yard: Yard, interval_minutes: int, window_minutes: int, shape: str
) -> None:
    now = utcnow()
    settings = replace(light_yard.settings, monitor_interval_seconds=60.0 * interval_minutes)
    steps = window_minutes // interval_minutes + 2
    for step in range(steps):
        if shape == "too short" and step * interval_minutes >= window_minutes:
            break
        cpu = 10.0 if shape == "interrupted" and step == 1 else 99.0
        swept(light_yard, now - step * timedelta(minutes=interval_minutes), cpu)
    rule = {"kind": "cpu", "is_enabled": True, "window_seconds": 60.0 * window_minutes, "threshold": 95, "scope": ""}
    with light_yard.database.read() as connection:
        facts = gather(connection, settings, [rule], {"cpu_percent": 99.0}, 0, 0, now)
    found = conditions.find(rule, facts)
    assert bool(found) is (shape == "held")


@pytest.mark.parametrize(("threshold", "minutes", "is_raised"), [(1, 2, True), (3, 2, False), (3, 4, True), (10, 9, False), (10, 11, True)])  # fmt: skip
def test_the_silence_of_the_monitor_respects_the_threshold_of_its_rule(
    yard: Yard, admin: Actor, threshold: float, minutes: int, is_raised: bool
) -> None:
    rules.change(yard, "rule-monitor_silent", {"threshold": threshold}, admin)
    own = rules.create(yard, "monitor_silent", {"threshold": 10_000}, admin)
    now = utcnow()
    monitoring.sweep(yard, now - timedelta(minutes=minutes))
    watchman.watch(yard, now - timedelta(days=1), now)
    assert ("rule-monitor_silent" in open_kinds(yard)) is is_raised
    assert own["id"] not in open_kinds(yard)


def test_a_second_rule_about_the_silence_of_the_monitor_is_judged_too(yard: Yard, admin: Actor) -> None:
    rules.change(yard, "rule-monitor_silent", {"is_enabled": False}, admin)
    own = rules.create(yard, "monitor_silent", {"threshold": 2}, admin)
    now = utcnow()
    monitoring.sweep(yard, now - timedelta(minutes=3))
    watchman.watch(yard, now - timedelta(days=1), now)
    assert own["id"] in open_kinds(yard)
    assert "rule-monitor_silent" not in open_kinds(yard)
